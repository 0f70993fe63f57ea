"""Duplicates: groups of near-copies, side by side."""

from __future__ import annotations

from dashboards import sections
from dashboards.asked import Asked
from dashboards.page import Content, Page, Seen

ON_A_PAGE = 24


def content(seen: Seen, asked: Asked) -> Content:
    """A page of groups, drawn by hash."""
    at = asked.whole("at", high=10_000)
    found = seen.answers.once(
        ("duplicates", at), lambda: sections.duplicates(seen.db, at * ON_A_PAGE, ON_A_PAGE)
    )
    return {"duplicates": found, "at": at, "pages_of_it": -(-found["listed"] // ON_A_PAGE)}


PAGE = Page("duplicates", "Duplicates", "Which pictures were taken for copies of each other?", content)
