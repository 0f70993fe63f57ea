"""Rows that would teach a model somebody's address or number."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter


class ContactDetails(Filter):
    """Keeps a row without e-mail addresses and telephone numbers; needs `annotators.contact_details`."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("contact_details.emails", "contact_details.telephones")
    reason: ClassVar[str] = "contact_details"
    emails: int = Field(0, ge=0, description="Most e-mail addresses.")
    telephones: int = Field(0, ge=0, description="Most telephone numbers.")

    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        return pc.and_kleene(
            pc.less_equal(rows["contact_details.emails"], self.emails),
            pc.less_equal(rows["contact_details.telephones"], self.telephones),
        )
