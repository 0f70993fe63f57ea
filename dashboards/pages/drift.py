"""Drift: how far one snapshot's rows lie from another's."""

from __future__ import annotations

from dataclasses import asdict

import pyarrow as pa

from dashboards import charts
from dashboards.ask import ask
from dashboards.asked import Asked
from dashboards.charts import Bar, Segment
from dashboards.masking import shown
from dashboards.page import Content, Page, Seen
from storage import drift

SNAPSHOTS = 50


def content(seen: Seen, asked: Asked) -> Content:
    """Two snapshots, and the columns that moved, the farthest first."""
    found = ask(seen.db, "last_snapshots", n=SNAPSHOTS)
    names = list(dict.fromkeys(row["snapshot"] for row in found))
    if len(names) < 2:
        return {"names": names, "rows": None}
    now = asked.choice("now", names, names[0])
    trained = seen.answers.once("champion's", lambda: ask(seen.db, "champions_snapshot"))
    usual = next((row["snapshot"] for row in trained if row["snapshot"] in names), "")
    before = asked.choice("before", names, usual if usual and usual != now else names[1])
    measured = moved(seen, before, now) if before != now else []
    limit = seen.mill.drift_limit
    bars = [
        Bar(one.column, [Segment("PSI", "base" if one.psi > limit else "kept", one.psi)], f"{one.psi:.3f}")
        for one in measured
    ]
    return {
        "names": names,
        "now": now,
        "before": before,
        "limit": limit,
        "usual": usual,
        "rows": [
            {"column": o.column, "psi": o.psi, "most": shown(o.most, 60), "before": o.before, "now": o.now}
            for o in measured
        ],
        "chart_of_it": charts.stacked(bars, "How far each column moved.", label_width=230),
        "beyond": sum(one.psi > limit for one in measured),
    }


def moved(seen: Seen, before: str, now: str) -> list[drift.Drift]:
    """Each column's drift; kept, for all rows of both are read."""

    kept = seen.db.kept
    assert kept is not None

    def measure() -> pa.Table:
        found = drift.measure(seen.mill.store, before, now, kept.versions)
        return pa.Table.from_pylist([asdict(one) for one in found], schema=drift.SCHEMA)

    asked = {"before": before, "now": now, "version": drift.VERSION}
    found = kept.once("drift", "signals snapshot_members", asked, measure)
    return [drift.Drift(**row) for row in found.to_pylist()]


PAGE = Page("drift", "Drift", "How far do the rows lie from those that the champion was trained on?", content)
