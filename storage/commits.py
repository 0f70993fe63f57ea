"""One Delta commit: files that are named in a table's log, or no longer, and the parts that it registers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from storage.errors import StoreConflict, StoreError, first_line, translated
from storage.log import Log
from storage.rows import ids, plain
from storage.tables import Table

ATTEMPTS = 12
"""Commits tried against other writers before giving up."""


def make(log: Log, table: Table) -> DeltaTable:
    """A fresh handle of a table, which is made if it is not there."""
    folder = log.folder.parent
    with translated(table.name):
        if log.refresh() >= 0:
            return DeltaTable(folder)
        return DeltaTable.create(
            folder,
            schema=pa.schema([pa.field(c.name, c.type, metadata={"comment": c.doc}) for c in table.columns]),
            mode="ignore",
            name=table.name,
            description=table.doc,
            configuration={
                # pinned versions must stay readable for ever
                "delta.enableExpiredLogCleanup": "false",
                "delta.dataSkippingStatsColumns": ",".join(ids(table)),
            },
        )


def commit(
    log: Log,
    table: Table,
    added: Sequence[AddAction],
    removed: Sequence[RemoveAction] = (),
    parts: Sequence[str] = (),
) -> None:
    """Makes one commit, with a fresh handle when another writer was faster.

    Raises:
        StoreFull: no room; the added files are removed.
        StoreConflict: other writers won every time.
    """
    before = log.refresh()
    try:
        _attempt(log, table, added, removed, parts)
    except StoreError:
        if _landed(log, before, added, parts):
            return
        for one in added:
            (log.folder.parent / one.path).unlink(missing_ok=True)
        raise


def _attempt(
    log: Log, table: Table, added: Sequence[AddAction], removed: Sequence[RemoveAction], parts: Sequence[str]
) -> None:
    properties = CommitProperties(
        custom_metadata={"parts": len(parts), "added": len(added)},
        app_transactions=[Transaction(part, 1) for part in parts],
    )
    actions: list[AddAction | RemoveAction] = [*added, *removed]
    for attempt in range(ATTEMPTS):
        delta = make(log, table)
        try:
            with translated(table.name):
                if actions:
                    form = delta.schema()
                    delta.create_write_transaction(actions, "append", form, commit_properties=properties)
                else:  # a commit of no files registers the parts all the same
                    nothing = plain(table).empty_table()
                    write_deltalake(delta, nothing, mode="append", commit_properties=properties)
            return
        except CommitFailedError as error:
            last = error
            time.sleep(min(0.02 * 2**attempt, 1.0))
    raise StoreConflict(f"{table.name}: other writers won {ATTEMPTS} times ({first_line(last)}); try again")


def _landed(log: Log, before: int, added: Sequence[AddAction], parts: Sequence[str]) -> bool:
    """Whether a commit that raised was made: what delta-rs does after it, a checkpoint, may have failed."""
    newest = log.refresh()
    if parts:
        return set(parts) <= log.parts
    names = {one.path for one in added}
    return any(names & set(log.added(version)) for version in range(before + 1, newest + 1))


def gone(file: str, *, data_change: bool = True) -> RemoveAction:
    """The log's word that a data file is no longer part of the table."""
    return RemoveAction(Path(file).name, data_change, int(time.time() * 1000), Path(file).stat().st_size, {})
