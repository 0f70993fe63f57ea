"""Pictures that look bad."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter


class Aesthetics(Filter):
    """Keeps a picture whose aesthetic score is at least `least`; one that was not scored stays."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("aesthetics.score",)
    reason: ClassVar[str] = "unsightly"
    least: float = Field(0.3, description="Least score, in the annotator's scale.")

    def keep(self, rows: pa.Table) -> pa.ChunkedArray:
        return pc.greater_equal(rows["aesthetics.score"], self.least)
