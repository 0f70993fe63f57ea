"""Pictures that were too small to begin with."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter


class Size(Filter):
    """Keeps a picture whose original was at least `width` by `height` pixels."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("original_width", "original_height")
    reason: ClassVar[str] = "too_small"
    width: int = Field(32, ge=1, description="Least original width, in pixels.")
    height: int = Field(32, ge=1, description="Least original height, in pixels.")

    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        return pc.and_(
            pc.greater_equal(rows["original_width"], self.width),
            pc.greater_equal(rows["original_height"], self.height),
        )
