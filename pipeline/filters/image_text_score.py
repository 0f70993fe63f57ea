"""Texts that do not fit their picture."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter


class ImageTextScore(Filter):
    """Keeps a row whose picture and text agree at least so well; one that was not scored (null or NaN) stays.

    Scores of two models cannot be compared: `gathers.lowest_scores` drops a share instead.
    """

    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("image_text_score.score",)
    reason: ClassVar[str] = "mismatched"
    least: float = Field(0.2, ge=-1, le=1, description="Least cosine of picture and text.")

    def keep(self, rows: pa.Table) -> pa.ChunkedArray:
        score = rows["image_text_score.score"]
        return pc.if_else(pc.is_nan(score), None, pc.greater_equal(score, self.least))
