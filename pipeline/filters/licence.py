"""Rows under licences that a corpus may not take."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter


class Licence(Filter):
    """Keeps a row under one of these licences; one without a licence goes, since nobody allowed it."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("licence",)
    reason: ClassVar[str] = "licence"
    allow: tuple[str, ...] = Field(description='SPDX ids, e.g. ["CC0-1.0", "CC-BY-4.0"].')

    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        return pc.is_in(rows["licence"], pa.array(self.allow, pa.string()))
