"""Evaluations: every checkpoint's scores with their intervals, and one of them in full."""

from __future__ import annotations

from typing import Any

from dashboards import charts, sections
from dashboards.ask import ask
from dashboards.asked import Asked
from dashboards.charts import Interval
from dashboards.page import Content, Page, Seen

MOST, PROMOTIONS = 20, 12


def content(seen: Seen, asked: Asked) -> Content:
    """A chart for each task over the checkpoints, and all scores of the chosen one."""
    rows = seen.answers.once("evaluated", lambda: ask(seen.db, "evaluated"))
    names = list(dict.fromkeys(row["checkpoint_id"] for row in rows))
    chosen = asked.choice("checkpoint", names, names[0] if names else "")
    return {
        "names": names,
        "chosen": chosen,
        "boards": boards(rows),
        "scores": sections.scores(seen.db, chosen or None),
        "promotions": ask(seen.db, "promotions_listed", n=PROMOTIONS),
    }


def boards(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The main score of each task, checkpoint by checkpoint: exact matches where there are any."""
    tasks: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        own = tasks.setdefault(row["task"], [])
        if sections.is_share(row) and (not own or own[0]["metric"] == row["metric"]):
            own.append(row)
    return [
        {
            "task": task,
            "metric": own[0]["metric"],
            "rows": own[:MOST],
            "chart": charts.intervals(
                [Interval(_label(row), row["value"], row["low"], row["high"]) for row in own[:MOST]],
                f"{task}, {own[0]['metric']}, of each checkpoint with its 95% interval.",
            ),
        }
        for task, own in tasks.items()
        if own
    ]


def _label(row: dict[str, Any]) -> str:
    return f"{'★ ' if row['champion'] else ''}{row['checkpoint_id'][:10]} · step {charts.figure(row['step'])}"


PAGE = Page("evaluations", "Evaluations", "How good is each checkpoint, and how sure is that?", content)
