"""Overview: what came in, what was kept and why not, how fresh it is, and what ran last."""

from __future__ import annotations

from dashboards import sections
from dashboards.ask import ask, ask_one
from dashboards.asked import Asked
from dashboards.page import Content, Page, Seen

RUNS, SNAPSHOTS = 12, 8


def content(seen: Seen, asked: Asked) -> Content:
    """Totals, funnel, freshness, runs."""
    return seen.answers.once("overview", lambda: _content(seen))


def _content(seen: Seen) -> Content:
    seen.settle()
    newest = ask_one(seen.db, "newest")
    return {
        "newest": newest,
        "totals": ask_one(seen.db, "totals", snapshot=newest["snapshot"]),
        "funnel": sections.funnel(seen.db),
        "fresh": ask(seen.db, "freshness"),
        "runs": ask(seen.db, "last_runs", n=RUNS),
        "snapshots": ask(seen.db, "last_snapshots", n=SNAPSHOTS),
        "evaluated": ask(seen.db, "evaluated"),
        "champion": ask_one(seen.db, "champion_now"),
    }


PAGE = Page(
    "overview",
    "Overview",
    "What came in, what was kept, what was thrown away and why, and how is the model doing?",
    content,
)
