"""Fetching: how requests end, host by host and hour by hour, and what sites said."""

from __future__ import annotations

from typing import Any

from dashboards import charts
from dashboards.ask import ask
from dashboards.asked import Asked
from dashboards.charts import Bar, Segment
from dashboards.masking import shown
from dashboards.page import Content, Page, Seen
from dashboards.sections import legend


def content(seen: Seen, asked: Asked) -> Content:
    """Outcomes, hosts, hours, consents."""
    return seen.answers.once("fetching", lambda: _content(seen))


def _content(seen: Seen) -> Content:
    outcomes, hourly = ask(seen.db, "fetch_by_outcome"), ask(seen.db, "fetch_by_hour")
    return {
        "outcomes": outcomes,
        "hosts": ask(seen.db, "fetch_by_host"),
        "consents": [
            {**row, "for_example": shown(row["for_example"], 80)} for row in ask(seen.db, "consents")
        ],
        **_hours(hourly),
    }


def _hours(rows: list[dict[str, Any]]) -> Content:
    total: dict[str, int] = {}
    for row in rows:
        total[row["outcome"]] = total.get(row["outcome"], 0) + row["requests"]
    names = sorted((name for name in total if name != "ok"), key=lambda name: (-total[name], name))
    colours = charts.colours(names, {"ok": "kept"})
    bars: dict[Any, list[Segment]] = {}
    for row in rows:
        bars.setdefault(row["hour"], []).append(
            Segment(row["outcome"], colours[row["outcome"]], row["requests"])
        )
    drawn = [
        Bar(
            f"{hour:%Y-%m-%d %H:00}",
            sorted(cuts, key=lambda cut: cut.name != "ok"),
            f"{sum(c.value for c in cuts):,.0f}",
        )
        for hour, cuts in bars.items()
    ]
    return {
        "hourly": charts.stacked(drawn, "Requests of each hour, by how they ended."),
        "legend": legend(colours) if rows else [],
    }


PAGE = Page("fetching", "Fetching", "How does the network answer, and what do sites say to it?", content)
