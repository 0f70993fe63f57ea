"""Rows that would teach a model somebody's account, card or address on the network."""

from __future__ import annotations

from functools import reduce
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter

KINDS = ("ibans", "cards", "ip_addresses")


class PersonalNumbers(Filter):
    """Keeps a row without IBANs, payment cards and IP addresses; needs `annotators.personal_numbers`."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = tuple(f"personal_numbers.{kind}" for kind in KINDS)
    reason: ClassVar[str] = "personal_numbers"
    ibans: int = Field(0, ge=0, description="Most IBANs.")
    cards: int = Field(0, ge=0, description="Most payment card numbers.")
    ip_addresses: int = Field(0, ge=0, description="Most IP addresses.")

    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        few = [pc.less_equal(rows[f"personal_numbers.{kind}"], getattr(self, kind)) for kind in KINDS]
        return reduce(pc.and_kleene, few)
