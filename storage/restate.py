"""A column of a small table set right, in one commit: what rows say of other things changes, their keys do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from storage.commits import gone, until_it_holds
from storage.errors import translated
from storage.rows import batch_rows, conformed, write_files

if TYPE_CHECKING:
    from storage.store import Store


def restate(
    store: Store, table: str, column: str, true: str, given: Callable[[], Mapping[str, pa.Table]] = dict
) -> int:
    """Sets a column to what an SQL expression of the row says; how many rows said otherwise. If none did, nothing is written.

    Args:
        given: relations that the expression may ask; made under the table's lock, so what is committed later is seen there.
    """

    def once() -> int:
        form, place = store.table(table), store.place(table)
        with store.lock(f"table-{table}"):
            if not (files := store.files(table)):
                return 0
            with store.cursor() as con, translated(table, place.explained):
                for name, rows in given().items():
                    con.register(name, rows)
                source = f"({store.select(table, files)})"
                query = f"SELECT count(*) FROM {source} WHERE {column} IS DISTINCT FROM {true}"
                [(wrong,)] = con.sql(query).fetchall()
                if not wrong:
                    return 0
                reader = con.sql(f"SELECT * REPLACE ({true} AS {column}) FROM {source}")
                added = write_files(place, form, conformed(reader.to_arrow_reader(batch_rows(form)), form))
            store.commit(form, added, gone(place, files))
            return int(wrong)

    return until_it_holds(once)
