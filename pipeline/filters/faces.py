"""Pictures of people."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter


class Faces(Filter):
    """Keeps a picture with few faces, none of them large; needs `annotators.faces`."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("faces.count", "faces.largest")
    most: int = Field(0, ge=0, description="Most faces.")
    largest: float = Field(1.0, ge=0, le=1, description="Largest share of the picture that a face may cover.")

    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        few = pc.less_equal(rows["faces.count"], self.most)
        return pc.and_kleene(few, pc.less_equal(rows["faces.largest"], self.largest))
