"""Articles in a sentence or two."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from model import measures
from model.outcome import Asked
from model.tasks.task import AnswerTask, Given, Measure


class Summarize(AnswerTask):
    """Sums a text up; beside it stands the text's own first sentence."""

    measures: ClassVar[Mapping[str, Measure]] = {
        "exact": measures.exact,
        "rouge_l": measures.rouge_l,
        "chrf": measures.chrf,
    }
    baseline: ClassVar[str] = "first_sentence"

    def trivial(self, asked: Sequence[Asked], given: Given) -> list[str] | None:
        return [first_sentence(one.prompt) for one in asked]


def first_sentence(text: str) -> str:
    """A text up to where its first sentence ends."""
    return re.split(r"(?<=[.!?])\s+|(?<=[。！？])|\n", text.strip(), maxsplit=1)[0].strip()
