"""Titles for articles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from model import measures
from model.outcome import Asked
from model.tasks.summarize import first_sentence
from model.tasks.task import AnswerTask, Given, Measure


class Title(AnswerTask):
    """Gives a text its title; beside it stands the text's own first sentence."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "exact": measures.exact,
        "rouge_l": measures.rouge_l,
        "chrf": measures.chrf,
    }
    baseline: ClassVar[str] = "first_sentence"

    def trivial(self, asked: Sequence[Asked], given: Given) -> list[str] | None:
        return [first_sentence(one.prompt) for one in asked]
