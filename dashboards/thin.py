"""A random sample of the rows, the same one each time: ids are digests, so those below a bound are drawn at random.

Tables that lie in the order of their ids, as `maintain` leaves them, skip the rest of their rows unread.
"""

from __future__ import annotations

from dashboards.ask import Session
from storage.store import Store
from storage.views import literal, name

WHOLE = 1.0


def share(most: int, total: int) -> float:
    """The share that so many rows are of all, from 0 to 1: all, where that is hardly more."""
    return most / total if total > 2 * most else WHOLE


def thin(db: Session, store: Store, share: float) -> None:
    """Has the session see this share of the rows and of all that is told of them, by the tables' own names; 1 for all again.

    What is told of pictures stays whole, and so do views that were made before: only the tables themselves are thinned.
    """
    bound = literal(f"{int(share * 0xFFFFFFFF):08x}")
    of_rows = [table.name for table in store.declared() if table.key[0] == "sample_id"]
    for table in ("samples", "decisions", *of_rows):
        own = name(table)
        if share < WHOLE:
            db.execute(
                f"CREATE OR REPLACE TEMP VIEW {own} AS FROM memory.main.{own} WHERE sample_id < {bound}"
            )
        else:
            db.execute(f"DROP VIEW IF EXISTS temp.{own}")
