"""Titles for articles."""

from __future__ import annotations

from model.tasks.summarize import Summarize


class Title(Summarize):
    """Gives a text its title; measured as a summary is, beside the text's own first sentence."""
