"""Rows taken out of a table: copy on write, so that readers of older versions keep what they see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from storage import commits, views
from storage.errors import translated
from storage.rows import batch_rows, conformed, write_files
from storage.tables import Table

if TYPE_CHECKING:
    from storage.store import Store


def remove(
    store: Store, table: Table, conditions: Sequence[str], doomed: pa.Array, at: int | None = None
) -> int:
    """Writes the files that hold rows of all the conditions anew without them, in one commit; how many rows there were.

    Nothing of the conditions reaches the log, and memory stays flat also for pictures.

    Args:
        doomed: what the conditions call the table `doomed`, with its one column `id`.
        at: the version that the commit has to follow, if any.

    Raises:
        TableMoved: another machine's commit came first.
    """
    condition, place = " AND ".join(conditions), store.place(table.name)
    with store.lock(f"table-{table.name}"):
        if not (files := store.files(table.name)):
            return 0
        with store.cursor() as con, translated(table.name, place.explained):
            con.register("doomed", pa.table({"id": doomed}))
            source = views.scan(files, union=store.evolved(table.name), filename=True)
            query = f"SELECT filename, count(*) FROM {source} WHERE {condition} GROUP BY 1"
            hits = con.sql(query).fetchall()
            if not hits:
                return 0
            stale = sorted(file for file, _ in hits)
            stay = f"SELECT * FROM ({store.select(table.name, stale)}) WHERE ({condition}) IS NOT TRUE"
            reader = con.sql(stay).to_arrow_reader(batch_rows(table))
            added = write_files(place, table, conformed(reader, table))
        store.commit(table, added, commits.gone(place, stale), at=at)
        return sum(count for _, count in hits)
