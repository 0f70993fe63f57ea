"""One Delta commit: files that are named in a table's log, or no longer, and the parts that it registers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from storage import location
from storage.errors import (
    PartConflict,
    StoreConflict,
    StoreError,
    StoreUnreachable,
    TableMoved,
    first_line,
    translated,
)
from storage.location import Location
from storage.log import Log
from storage.rows import ids, plain
from storage.tables import Table

Result = TypeVar("Result")

ATTEMPTS = 12
"""Commits tried against other writers before giving up."""


def make(log: Log, table: Table) -> None:
    """Makes a table if it is not there."""
    if log.version >= 0 or log.refresh() >= 0:
        return
    place = log.table
    with translated(table.name, place.explained):
        DeltaTable.create(
            place.uri,
            schema=pa.schema([pa.field(c.name, c.type, metadata={"comment": c.doc}) for c in table.columns]),
            mode="ignore",
            name=table.name,
            description=table.doc,
            configuration={
                # pinned versions must stay readable for ever
                "delta.enableExpiredLogCleanup": "false",
                "delta.dataSkippingStatsColumns": ",".join(ids(table)),
            },
            storage_options=place.options,
        )


def handle(log: Log, table: Table, *, fresh: bool = False) -> DeltaTable:
    """A handle of a table at its newest version. In a bucket the last one is taken again and reads only what is new: a
    fresh one asks for every commit since the last checkpoint."""
    make(log, table)
    with translated(table.name, log.table.explained):
        if fresh or log.writer is None:
            log.writer = location.table(log.table)
        else:
            log.writer.update_incremental()
        found, log.writer = log.writer, log.writer if log.table.remote else None
        return found


def commit(
    log: Log,
    table: Table,
    added: Sequence[AddAction],
    removed: Sequence[RemoveAction] = (),
    parts: Sequence[str] = (),
    at: int | None = None,
) -> bool:
    """Makes one commit, with a fresh handle when another writer was faster; False, and nothing is added, if that one
    committed these parts.

    Args:
        at: the version that it is to follow, if it rests on what was seen there; the next one else.

    Raises:
        StoreFull: no room; the added files are removed.
        TableMoved: the table is not at that version any more, or files to be removed are gone: look again.
        StoreConflict: other writers won every time.
    """
    before = log.version
    try:
        made = _attempt(log, table, added, removed, parts, at)
    except StoreUnreachable:
        if _landed(log, before, added, parts):
            return True
        raise  # the commit may still be on its way, so its files stay: a vacuum finds those that nothing names
    except StoreError:
        if _landed(log, before, added, parts):
            return True
        _discard(log, added)
        raise
    if not made:
        _discard(log, added)
    return made


def _discard(log: Log, added: Sequence[AddAction]) -> None:
    """Removes files that no commit names, nor will."""
    for one in added:
        with suppress(StoreError):  # a bucket that does not answer: a vacuum will find it
            log.table.remove(one.path)


def _attempt(
    log: Log,
    table: Table,
    added: Sequence[AddAction],
    removed: Sequence[RemoveAction],
    parts: Sequence[str],
    at: int | None,
) -> bool:
    properties = CommitProperties(
        custom_metadata={"parts": len(parts), "added": len(added)},
        app_transactions=[Transaction(part, 1) for part in parts],
        max_commit_retries=0,  # what follows must hold for the version that the commit comes next to
    )
    actions: list[AddAction | RemoveAction] = [*added, *removed]
    before = log.version
    for attempt in range(ATTEMPTS):
        delta = handle(log, table, fresh=attempt > 0)
        if attempt and added and _landed(log, before, added, parts):
            return True  # the answer was lost
        if attempt or log.table.remote:
            if _by_another(log, parts):
                return False
            _check(delta, table, removed, at)
        try:
            with translated(table.name, log.table.explained):
                if actions:
                    form = delta.schema()
                    delta.create_write_transaction(actions, "append", form, commit_properties=properties)
                else:  # a commit of no files registers the parts all the same
                    nothing = plain(table).empty_table()
                    write_deltalake(delta, nothing, mode="append", commit_properties=properties)
            return True
        except CommitFailedError as error:
            if told := log.table.explained(error):
                raise told from None
            last = error
            time.sleep(min(0.02 * 2**attempt, 1.0))
    raise StoreConflict(f"{table.name}: other writers won {ATTEMPTS} times ({first_line(last)}); try again")


def _by_another(log: Log, parts: Sequence[str]) -> bool:
    """Whether another writer has committed the parts meanwhile.

    Raises:
        PartConflict: only some of them.
    """
    log.refresh()
    there = set(parts) & log.parts
    if there and len(there) < len(set(parts)):
        raise PartConflict(
            f"{log.table.name}: {len(there)} of {len(parts)} parts are committed already; "
            "commit the missing ones alone"
        )
    return bool(there)


def _check(delta: DeltaTable, table: Table, removed: Sequence[RemoveAction], at: int | None) -> None:
    """Raises TableMoved unless a commit may follow the version of a handle."""
    moved = at is not None and delta.version() != max(at, 0)
    if removed and not moved:
        there = {PurePosixPath(uri).name for uri in delta.file_uris()}
        moved = not {one.path for one in removed} <= there
    if moved:
        raise TableMoved(f"{table.name} was changed from elsewhere in the middle of this; try again")


def _landed(log: Log, before: int, added: Sequence[AddAction], parts: Sequence[str]) -> bool:
    """Whether a commit that raised was made: what delta-rs does after it, a checkpoint, may have failed."""
    newest = log.refresh()
    if not added:
        return bool(parts) and set(parts) <= log.parts
    return any(_names(added) & set(log.added(version)) for version in range(before + 1, newest + 1))


def _names(added: Sequence[AddAction]) -> set[str]:
    return {one.path for one in added}


def gone(place: Location, files: Sequence[str], *, data_change: bool = True) -> list[RemoveAction]:
    """The log's word that data files are no longer part of the table."""
    names = [PurePosixPath(file).name for file in files]
    sizes, now = place.sizes(names), int(time.time() * 1000)
    return [RemoveAction(name, data_change, now, sizes[name], {}) for name in names]


def until_it_holds(work: Callable[[], Result]) -> Result:
    """Does work again as long as another machine's commit makes void what it was built on.

    Raises:
        StoreConflict: that happened every time.
    """
    for attempt in range(ATTEMPTS):
        try:
            return work()
        except (TableMoved, PartConflict) as error:
            last = error
            time.sleep(min(0.02 * 2**attempt, 1.0) * random.random())  # or two would meet again
    raise last
