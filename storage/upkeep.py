"""Fewer and bigger files, and none that nobody needs; both by command, never in the way of a flow.

Each step is one commit, or removes what no commit names: killed anywhere, the store holds the same rows, and the next
call does the rest. Readers of a snapshot, and of any version that is younger than is asked to be kept, are not disturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
from deltalake.transaction import AddAction
from pydantic import Field

from storage import catalog, location, parts, views
from storage.commits import gone, until_it_holds
from storage.errors import StoreFull, translated
from storage.restate import restate
from storage.rows import FILE_BYTES, batch_rows, conformed, write_files
from storage.settings import Settings
from storage.snapshot import Snapshot, listing
from storage.store import Store
from storage.tables import TABLES, Table

KEEP_HOURS = 7 * 24
"""Versions younger than this stay readable: a reader may be at work."""
MAINTAIN = "maintain"
"""Lock of whatever removes files for good, and of whoever copies the whole store."""
OUTWEIGHS = 4
"""A small file so many times as large as all smaller ones together is left alone: each time that it is written again, an
older snapshot may go on to need the old one."""


class Keep(Settings):
    """What stays when all else is cleared away."""

    keep_hours: int = Field(
        KEEP_HOURS,
        ge=1,
        le=87_600,
        description="Old files and versions younger than this stay: longer than any query or run takes. "
        "What a snapshot pins stays anyway.",
    )
    keep_checkpoints: int = Field(
        2,
        ge=1,
        le=10_000,
        description="Newest checkpoints of every run that stay. Evaluated, exported and promoted ones stay anyway.",
    )
    copied_mb: int = Field(
        1024,
        ge=0,
        le=1 << 30,
        description="Small files that snapshots pin are put together only where a table has no more MB of them: "
        "they lie there twice, as long as the snapshots do.",
    )


@dataclass(frozen=True)
class Tidied:
    """What became of one table."""

    table: str
    files_before: int
    """Files of its newest version."""
    files_after: int
    files_removed: int
    """Old ones, which no version that is kept needs."""
    bytes_freed: int


def tidy(
    store: Store,
    *,
    keep_hours: int = KEEP_HOURS,
    copied: int = 1 << 30,
    progress: Callable[[str], None] = lambda table: None,
) -> list[Tidied]:
    """Compacts every table, then removes the files that nothing needs; a line for each table.

    Args:
        copied: bytes of a table's small files that snapshots pin, up to which they are put together all the same.
    """
    counts = {}
    for table in store.tables():
        progress(table)
        counts[table] = optimize(store, table, spare=costly(store, table, copied))
    removed = sized_vacuum(store, keep_hours=keep_hours)
    catalog.refresh(store)  # it names files that may be gone now
    return [
        Tidied(table, *counts[table], len(removed[table]), sum(removed[table].values())) for table in counts
    ]


def optimize(store: Store, table: str, *, spare: Collection[str] = ()) -> tuple[int, int]:
    """Puts a table's small files together, but for those to be spared, in one commit that changes no row; files before,
    after. Rows without pictures or vectors lie in the order of their keys then: who looks for a few ids skips the rest."""
    return until_it_holds(lambda: _optimize(store, table, spare))


def _optimize(store: Store, table: str, spare: Collection[str]) -> tuple[int, int]:
    form, place = store.table(table), store.place(table)
    with store.lock(f"table-{table}"):
        files = store.files(table)
        small = worthwhile(store.sizes(table, [file for file in files if file not in spare]))
        if len(small) < 2:
            return len(files), len(files)
        order = f" ORDER BY {', '.join(map(views.name, form.key))}" if is_narrow(form) else ""
        try:
            added = _put_together(store, form, store.select(table, small) + order)
        except StoreFull:  # a sort of so many rows needs room of its own
            added = _put_together(store, form, store.select(table, small))
        store.commit(form, added, gone(place, small, data_change=False))
        return len(files), len(store.files(table))


def _put_together(store: Store, form: Table, rows: str) -> list[AddAction]:
    """Files of these rows."""
    place = store.place(form.name)
    with store.cursor() as con, translated(form.name, place.explained):
        reader = con.sql(rows).to_arrow_reader(batch_rows(form))
        return write_files(place, form, conformed(reader, form), data_change=False)


def is_narrow(table: Table) -> bool:
    """Whether no column of it holds many values, as pictures, vectors and ids of tokens do."""
    return not any(pa.types.is_binary(one.type) or pa.types.is_list(one.type) for one in table.columns)


def worthwhile(sizes: Mapping[str, int]) -> list[str]:
    """The small ones of some files, by their sizes, without those that outweigh all that they would be put together with."""
    small = sorted((file for file in sizes if sizes[file] < FILE_BYTES // 2), key=lambda file: sizes[file])
    while len(small) > 1 and sizes[small[-1]] > OUTWEIGHS * sum(sizes[file] for file in small[:-1]):
        small.pop()
    return sorted(small)


def costly(store: Store, table: str, most: int) -> set[str]:
    """Files of the newest version that snapshots need, if they are more than so many bytes: put together, they would lie
    there twice as long as the snapshots do."""
    needed = {file for version in pins(store).get(table, ()) for file in store.files(table, version)}
    held = needed & set(store.files(table))
    sizes = store.sizes(table, sorted(held))
    return held if sum(sizes[file] for file in worthwhile(sizes)) > most else set()


def pins(store: Store) -> dict[str, set[int]]:
    """The versions of each table that a snapshot holds still."""
    pinned: dict[str, set[int]] = {}
    for row in listing(store):
        for table, version in Snapshot.from_row(store, row).versions.items():
            pinned.setdefault(table, set()).add(version)
    return pinned


def vacuum(store: Store, *, keep_hours: int = KEEP_HOURS) -> list[str]:
    """Removes data files that neither the newest version, nor any snapshot, nor a young version needs.

    Returns the paths that were removed.
    """
    return [file for files in sized_vacuum(store, keep_hours=keep_hours).values() for file in files]


def sized_vacuum(store: Store, *, keep_hours: int) -> dict[str, dict[str, int]]:
    """The same; the size of each file that was removed, by table."""
    with store.lock("snapshot"):  # one that is being made has pinned versions that no row names yet
        pinned = pins(store)
        return {
            table: _vacuum(store, table, sorted(pinned.get(table, ())), keep_hours)
            for table in store.tables()
        }


def _vacuum(store: Store, table: str, pinned: list[int], keep_hours: int) -> dict[str, int]:
    place = store.place(table)
    # under the lock, a writer's file that no commit names yet is safe; another machine's is for as long as is kept
    with store.lock(f"table-{table}"), translated(table, place.explained):

        def run(*, dry_run: bool) -> list[str]:
            return location.table(place).vacuum(
                retention_hours=keep_hours,
                dry_run=dry_run,
                enforce_retention_duration=False,
                full=True,
                keep_versions=pinned,
            )

        old = [place.file(PurePosixPath(name).name) for name in run(dry_run=True)]
        sizes = store.sizes(table, sorted(old))
        if sizes:  # it commits its begin and end also when there is nothing left to remove
            run(dry_run=False)
    return sizes


def drop_orphans(store: Store) -> int:
    """Removes the pictures that no sample shows any more, with all that was learned about them; how many.

    Snapshots that pin older versions still read them, until a vacuum.
    """
    with store.lock():  # a commit that counts on a picture being there must not run beside this
        with store.connect() as db:
            # a commit that was killed after its pictures does not write them again
            db.register("waiting", parts.pictures_waiting(store))
            found = db.sql(
                "SELECT image_id FROM images ANTI JOIN samples USING (image_id) ANTI JOIN waiting USING (image_id)"
            ).to_arrow_table()
        if found.num_rows:
            beside = [
                table.name for table in [*TABLES.values(), *store.declared()] if table.key[0] == "image_id"
            ]
            for name in sorted(
                beside, key=lambda name: name == "images"
            ):  # last: a kill before it begins anew
                store.delete(name, found["image_id"])
    return found.num_rows


def place_checkpoints(store: Store, there: Callable[[], Collection[str]]) -> int:
    """Makes `checkpoints` true: a row's path is its folder, relative to the store, or null if that is not there (any
    more). In one commit; returns how many rows were wrong.

    Rows stay when their weights go, because a model that was exported or whose answers were used may have to be accounted
    for long after: which rows it saw is told by this row, its run's batches and its snapshot, none of which need weights.
    """
    own = "format('checkpoints/{}/{:08d}', run_id, step)"
    true = f"CASE WHEN path IN (FROM folders) THEN path WHEN {own} IN (FROM folders) THEN {own} END"
    # under the lock: a checkpoint that is saved from here on has its row in a later commit
    return restate(
        store,
        "checkpoints",
        "path",
        true,
        lambda: {"folders": pa.table({"folder": pa.array(sorted(there()), pa.string())})},
    )
