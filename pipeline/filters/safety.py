"""Pictures that look pornographic or violent."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter


class Safety(Filter):
    """Keeps a picture unless `annotators.safety` gives it too much; one that was not judged stays."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("safety.nsfw", "safety.violence")
    reason: ClassVar[str] = "unsafe"
    nsfw: float = Field(0.5, ge=0, le=1, description="Most of sexual content.")
    violence: float = Field(0.5, ge=0, le=1, description="Most of violence.")

    def keep(self, rows: pa.Table) -> pa.ChunkedArray:
        return pc.and_(
            pc.less_equal(rows["safety.nsfw"], self.nsfw),
            pc.less_equal(rows["safety.violence"], self.violence),
        )
