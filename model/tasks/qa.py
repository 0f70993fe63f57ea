"""Questions about a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from model import measures
from model.outcome import Asked
from model.tasks.task import AnswerTask, Given, Measure
from model.tasks.vqa import by_kind, most_frequent


class Qa(AnswerTask):
    """Answers a question that stands below a text, with no picture; beside it stands the most frequent answer of training to
    that kind of question."""

    measures: ClassVar[Mapping[str, Measure]] = {"exact": measures.exact, "f1": measures.f1}
    baseline: ClassVar[str] = "most_frequent"
    least_of_kind: int = Field(
        20, ge=1, description="Questions of a kind with fewer items are reported together."
    )

    def items(self, given: Given) -> list[Asked]:
        return by_kind(super().items(given), self.least_of_kind)

    def trivial(self, asked: Sequence[Asked], given: Given) -> list[str] | None:
        return most_frequent(asked, given, self.name())
