"""Pictures with lettering laid over them."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter


class TextOverlay(Filter):
    """Keeps a picture without lettering that is surely laid over it; needs `annotators.text_overlay`.

    It cannot tell a watermark from a shop's sign or a diagram's labels: leave it out where these belong to the corpus.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("text_overlay.score", "text_overlay.covered")
    score: float = Field(0.5, ge=0, le=1, description="Highest score that is no text.")
    covered: float = Field(0.0, ge=0, le=1, description="Most of the picture that text may cover.")

    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        unsure = pc.less_equal(rows["text_overlay.score"], self.score)
        return pc.or_kleene(unsure, pc.less_equal(rows["text_overlay.covered"], self.covered))
