"""What time it is for a new row. Which row of a table is the newest hangs on it, and clocks are set back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow.compute as pc

if TYPE_CHECKING:
    from storage.store import Store


def now() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)


def after(store: Store, table: str) -> datetime:
    """The machine's time; a moment after the newest row of the table where the machine's clock is behind it."""
    newest = pc.max(store.read(table, columns=["recorded_at"])["recorded_at"]).as_py()
    return now() if newest is None else max(now(), newest + timedelta(microseconds=1))
