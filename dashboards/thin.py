"""A random sample of the rows, the same one each time: ids are digests, so those below a bound are drawn at random.

Files whose rows lie in the order of their ids, as `maintain` writes them, are skipped but for their beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dashboards.ask import Session
from storage.store import Store
from storage.views import bound, name

WHOLE = 1.0
MADE = "SELECT view_name FROM duckdb_views() WHERE database_name = 'memory' AND schema_name = 'main'"


def share(most: int, total: int) -> float:
    """The share that so many rows are of all, from 0 to 1: all, up to twice as many."""
    return most / total if total > 2 * most else WHOLE


@contextmanager
def thinned(db: Session, store: Store, share: float) -> Iterator[Session]:
    """The session, which sees this share of the rows and of what is told of them, by the tables' own names and through views;
    what is told of pictures stays whole. Its answers are not kept."""
    if share >= WHOLE:
        yield db
        return
    there = {
        row[0] for row in db.execute(MADE).fetchall()
    }  # a table may be declared later than the session was begun
    of_rows = {table.name for table in store.declared() if table.key[0] == "sample_id"}
    tables = [
        name(table) for table in sorted(there & {"samples", "decisions", "members", "splits", *of_rows})
    ]
    try:
        for table in tables:
            db.execute(
                f"CREATE OR REPLACE TEMP VIEW {table} AS FROM memory.main.{table} WHERE sample_id < {bound(share)}"
            )
        yield Session(db.con)
    finally:
        for table in tables:
            db.execute(f"DROP VIEW IF EXISTS temp.{table}")
