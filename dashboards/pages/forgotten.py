"""Forgotten: every takedown, what it reached, and whether its record is as it was written."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from dashboards.ask import ask
from dashboards.asked import Asked
from dashboards.masking import shown
from dashboards.page import Content, Page, Seen
from storage import takedown

MOST = 200


def content(seen: Seen, asked: Asked) -> Content:
    """The records, newest first; what is still to be completed; snapshots and checkpoints that held such rows."""
    records = [_told(row) for row in reversed(takedown.records(seen.mill.store))]
    return {
        "records": records[:MOST],
        "in_all": len(records),
        "waiting": [one.summary() for one in takedown.waiting(seen.mill.store)],
        "effects": ask(seen.db, "forgotten_effects", n=MOST),
    }


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """A record with the kinds of what was named, which it holds as digests, and its counts taken apart."""
    named, counts = json.loads(row["named"] or "[]"), json.loads(row["counts"] or "{}")
    kinds = Counter(one.get("kind", "") for one in named if isinstance(one, dict))
    return {
        **row,
        "requested_by": shown(row["requested_by"], 60),
        "kinds": ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())),
        "tables": ", ".join(f"{table} {n:,}" for table, n in sorted(counts.items()) if n),
    }


PAGE = Page("forgotten", "Forgotten", "Who asked for what to be forgotten, and is all of it gone?", content)
