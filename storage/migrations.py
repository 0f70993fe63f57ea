"""From an older schema to this one: numbered steps, each done whole before the version is raised.

A step may find its own work half done (it was killed) and must then finish it. To change a table: edit it in
storage.tables, raise SCHEMA_VERSION, and add a step here; `add_columns` does for new columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from storage.errors import StoreOlder
from storage.meta import Meta
from storage.store import Store
from storage.tables import SCHEMA_VERSION, TABLES


@dataclass(frozen=True)
class Step:
    """One step: the version it leads to, what it does, and how."""

    to: int
    doc: str
    apply: Callable[[Store, Meta], None]


def add_columns(store: Store, meta: Meta) -> None:
    """Gives every table the columns that storage.tables has and it does not; older rows have null there."""
    for table in TABLES.values():
        if store.version(table.name) < 0:
            continue
        there = set(store.columns(table.name))
        added = [pa.field(c.name, c.type) for c in table.columns if c.name not in there]
        if added:
            meta.widened.add(table.name)  # first, so that no reader expects the columns in every file
            meta.save()
            store.widen(table, added)


STEPS: tuple[Step, ...] = (
    Step(1, "columns that came after the first stores", add_columns),
    Step(
        2, "samples.http; the tables consents and cursors are made when they are first written", add_columns
    ),
    Step(3, "the table promotions is made when it is first written", add_columns),
    Step(4, "the tables forgotten, blocklist and gaps are made when they are first written", add_columns),
    Step(5, "answers.part_of, prompt_id, trivial and scores", add_columns),
)


def migrate(path: str | Path, steps: Sequence[Step] = STEPS) -> int:
    """Brings a store to this program's schema, and returns the version; nothing happens if it is there.

    Raises:
        StoreTooNew: a newer schema made it.
        StoreOlder: there is no step from its version.
    """
    folder = Path(path).expanduser().absolute()
    meta = Meta.open(folder, create=False, any_version=True)
    if meta.schema_version >= SCHEMA_VERSION:
        meta.check()
        return meta.schema_version
    store = Store(folder, meta)
    with store.lock():
        meta.refresh()
        for step in sorted(steps, key=lambda one: one.to):
            if meta.schema_version == step.to - 1:
                step.apply(store, meta)
                meta.schema_version = step.to
                meta.save()
    if meta.schema_version != SCHEMA_VERSION:
        raise StoreOlder(
            f"{folder} has schema version {meta.schema_version}; no step leads from it to {SCHEMA_VERSION}: "
            "use an older millrace first"
        )
    return meta.schema_version
