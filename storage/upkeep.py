"""Fewer and bigger files, and none that nobody needs; both by command, never in the way of a flow."""

from __future__ import annotations

from pathlib import Path

from deltalake import DeltaTable

from storage.commits import gone
from storage.errors import translated
from storage.rows import FILE_BYTES, batch_rows, conformed, write_files
from storage.snapshot import Snapshot, listing
from storage.store import Store
from storage.tables import TABLES

KEEP_HOURS = 7 * 24
"""Versions younger than this stay readable: a reader may be at work."""


def optimize(store: Store, table: str) -> tuple[int, int]:
    """Puts a table's small files together in one commit that changes no row; files before, after."""
    form = store.table(table)
    with store.lock(f"table-{table}"):
        files = store.files(table)
        small = [file for file in files if Path(file).stat().st_size < FILE_BYTES // 2]
        if len(small) < 2:
            return len(files), len(files)
        with store.cursor() as con, translated(table):
            rows = con.sql(store.select(table, small)).to_arrow_reader(batch_rows(form))
            folder = store.path / "tables" / table
            added = write_files(folder, form, conformed(rows, form), data_change=False)
        store.commit(form, added, [gone(file, data_change=False) for file in small])
        return len(files), len(store.files(table))


def vacuum(store: Store, *, keep_hours: int = KEEP_HOURS) -> list[str]:
    """Removes data files that neither the newest version, nor any snapshot, nor a young version needs.

    Returns the paths that were removed.
    """
    removed = []
    pinned: dict[str, set[int]] = {}
    for row in listing(store):
        for table, version in Snapshot.from_row(store, row).versions.items():
            pinned.setdefault(table, set()).add(version)
    for table in store.tables():
        folder = store.path / "tables" / table
        with (
            store.lock(f"table-{table}"),
            translated(table),
        ):  # a writer's file that no commit names yet is safe
            names = DeltaTable(folder).vacuum(
                retention_hours=keep_hours,
                dry_run=False,
                enforce_retention_duration=False,
                full=True,
                keep_versions=sorted(pinned.get(table, set())),
            )
        removed += [str(folder / name) for name in names]
    return removed


def drop_orphans(store: Store) -> int:
    """Removes the pictures that no sample shows any more, with all that was learned about them; how many.

    Snapshots that pin older versions still read them, until a vacuum.
    """
    with store.lock():  # a commit that counts on a picture being there must not run beside this
        with store.connect() as db:
            found = db.sql("SELECT image_id FROM images ANTI JOIN samples USING (image_id)").to_arrow_table()
        if found.num_rows:
            beside = [
                table.name for table in [*TABLES.values(), *store.declared()] if table.key[0] == "image_id"
            ]
            for name in sorted(
                beside, key=lambda name: name == "images"
            ):  # last: a kill before it begins anew
                store.delete(name, found["image_id"])
    return found.num_rows
