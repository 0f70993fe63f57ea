"""Banners, rules and other slivers."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter


class AspectRatio(Filter):
    """Keeps a picture whose long side is at most `most` times its short one."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("original_width", "original_height")
    most: float = Field(3.0, ge=1.0, description="Longest side over shortest side.")

    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        width, height = (rows[f"original_{side}"].cast(pa.float64()) for side in ("width", "height"))
        long, short = pc.max_element_wise(width, height), pc.min_element_wise(width, height)
        return pc.less_equal(long, pc.multiply(short, self.most))
