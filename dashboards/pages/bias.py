"""Bias: whom the texts speak of, which stage drops whom, what leaked from evaluation sets, what is personal."""

from __future__ import annotations

from dashboards import bias
from dashboards.ask import ask_one
from dashboards.asked import Asked
from dashboards.page import Content, Page, Seen


def content(seen: Seen, asked: Asked) -> Content:
    """The report's sections, of the newest snapshot; asked once for each state of the tables."""
    return seen.answers.once("bias", lambda: _content(seen))


def _content(seen: Seen) -> Content:
    newest = ask_one(seen.db, "newest")
    return {"balance": bias.section(seen.db, newest["snapshot"]), "contamination": bias.leaks(seen.db)}


PAGE = Page(
    "bias", "Bias", "Whom do the texts speak of, and does a stage drop some more than others?", content
)
