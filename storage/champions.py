"""Which checkpoint answers for the store, and every decision that made it so: rows of `promotions`, of which the newest
that promoted or rolled back names the champion.

As SQL in every connection: the view `champion`, one row or none.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from storage import clock
from storage.derived import View

if TYPE_CHECKING:
    from storage.store import Store

CHAMPION = "champion"
"""Names the checkpoint that was promoted last."""
PROMOTED, REFUSED, ROLLED_BACK = "promoted", "refused", "rolled_back"
VIEWS = (
    View(
        "champion",
        "The checkpoint that was promoted last and not taken back: one row, or none.",
        {
            "checkpoint_id": "The checkpoint that answers for the store.",
            "since": "When it was decided. [UTC]",
            "promotion_id": "The decision.",
            "outcome": "promoted, or rolled_back to it.",
            "reason": "Why, in a sentence.",
        },
        f"""
SELECT checkpoint_id, recorded_at AS since, promotion_id, outcome, reason FROM promotions
WHERE outcome IN ('{PROMOTED}', '{ROLLED_BACK}') ORDER BY recorded_at DESC LIMIT 1
""",
    ),
)


def champion(store: Store) -> str | None:
    """Id of the checkpoint that was promoted last and not taken back; None if none ever was."""
    with store.connect() as db:
        row = db.execute("SELECT checkpoint_id FROM champion").fetchone()
    return row[0] if row else None


def former(store: Store) -> str | None:
    """The champion before this one: what a rollback leads to. A rollback itself counts as no step forward, so that two
    of them lead two steps back."""
    stack: list[str] = []
    rows = store.read("promotions").sort_by([("recorded_at", "ascending")]).to_pylist()
    for row in rows:
        if row["outcome"] == PROMOTED:
            stack.append(row["checkpoint_id"])
        elif row["outcome"] == ROLLED_BACK:
            stack.pop()
    return stack[-2] if len(stack) > 1 else None


def record(store: Store, outcome: str, checkpoint: str, reason: str, **more: Any) -> dict[str, Any]:
    """Appends a decision, and returns its row."""
    now = clock.after(store, "promotions")
    name = hashlib.sha256(f"{outcome} {checkpoint} {now.isoformat()}".encode()).hexdigest()[:16]
    row = {"promotion_id": name, "outcome": outcome, "checkpoint_id": checkpoint, "reason": reason, **more}
    row["recorded_at"] = now
    schema = pa.schema([f for f in store.table("promotions").schema if f.name in row])
    store.append("promotions", pa.Table.from_pylist([row], schema), parts=[name])
    return row
