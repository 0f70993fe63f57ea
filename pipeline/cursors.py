"""Where a source stopped: a word of its own in the table `cursors`, kept for as long as its settings are the same."""

from __future__ import annotations

import pyarrow as pa

from pipeline.step import digest
from storage import clock, parts
from storage.store import Store


def read(store: Store, source: str, fingerprint: str) -> str | None:
    """What was last written under these settings."""
    with store.over("cursors") as db:
        found = db.execute(
            "SELECT value FROM cursors WHERE source = ? AND fingerprint = ? ORDER BY recorded_at DESC LIMIT 1",
            [source, fingerprint],
        ).fetchone()
    return None if found is None else found[0]


def write(store: Store, source: str, fingerprint: str, value: str) -> None:
    """Writes it down; nothing happens if it stands there."""
    if value == read(store, source, fingerprint):
        return
    when = clock.after(store, "cursors")
    row = {"source": source, "fingerprint": fingerprint, "value": value, "recorded_at": when}
    key = digest(["cursor", source, fingerprint, value, when.isoformat()])
    parts.stage(store, key, {"cursors": pa.Table.from_pylist([row])})
    parts.commit(store, [key])
