"""Overview: what came in, what was kept and why not, how fresh it is, and what ran last."""

from __future__ import annotations

from dashboards import charts, sections
from dashboards.ask import ask, ask_one
from dashboards.asked import Asked
from dashboards.charts import Bar, Segment
from dashboards.page import Content, Page, Seen

RUNS, SNAPSHOTS, REASONS = 12, 8, 12


def content(seen: Seen, asked: Asked) -> Content:
    """Totals, funnel, freshness, runs."""
    return seen.answers.once("overview", lambda: _content(seen))


def _content(seen: Seen) -> Content:
    newest = ask_one(seen.db, "newest")
    return {
        "newest": newest,
        "totals": ask_one(seen.db, "totals", snapshot=newest["snapshot"]),
        "funnel": sections.funnel(seen.db),
        "reasons": reasons(seen),
        "fresh": ask(seen.db, "freshness"),
        "runs": ask(seen.db, "last_runs", n=RUNS),
        "snapshots": ask(seen.db, "last_snapshots", n=SNAPSHOTS),
        "evaluated": ask(seen.db, "evaluated"),
        "champion": ask_one(seen.db, "champion_now"),
    }


def reasons(seen: Seen) -> Content:
    """A bar for each reason to drop a row, the largest first: beside all that was kept they could not be seen."""
    total: dict[str, int] = {}
    for fate in ask(seen.db, "fates_by_source"):
        if fate["reason"] is not None:
            total[fate["reason"]] = total.get(fate["reason"], 0) + fate["rows"]
    largest = sorted(total, key=lambda reason: (-total[reason], reason))[:REASONS]
    bars = [Bar(reason, [Segment("rows", "base", total[reason])], f"{total[reason]:,}") for reason in largest]
    return {"chart": charts.stacked(bars, "Rows dropped for each reason."), "dropped": sum(total.values())}


PAGE = Page(
    "overview",
    "Overview",
    "What came in, what was kept, what was thrown away and why, and how is the model doing?",
    content,
)
