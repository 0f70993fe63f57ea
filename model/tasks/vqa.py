"""Questions about pictures."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from model import measures
from model.outcome import Asked
from model.tasks.task import AnswerTask, Given, Measure, asked_of, rows

KNOWN = """
SELECT coalesce(lang, '') AS lang, coalesce(prompt, '') AS prompt, text, count(*) AS n
FROM samples JOIN members m USING (sample_id)
WHERE m.split = 'train' AND task = $task AND text IS NOT NULL GROUP BY ALL
"""
HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
OTHER = "other"


class Vqa(AnswerTask):
    """Answers a question about a picture, by kind of question; beside it stands the most frequent answer of training to the
    same question, or else to its kind: what a model reaches that never looks."""

    measures: ClassVar[Mapping[str, Measure]] = {"exact": measures.exact, "accuracy": measures.accuracy}
    baseline: ClassVar[str] = "most_frequent"
    least_of_kind: int = Field(
        20, ge=1, description="Questions of a kind with fewer items are reported together."
    )

    def items(self, given: Given) -> list[Asked]:
        return by_kind(
            [self.item(row) for row in rows(given, self.name()) if row["image_id"]], self.least_of_kind
        )

    def item(self, row: Mapping[str, Any]) -> Asked:
        return asked_of(row, self.name(), picture=True)

    def trivial(self, asked: Sequence[Asked], given: Given) -> list[str] | None:
        return most_frequent(asked, given, self.name())


def by_kind(asked: Sequence[Asked], least: int) -> list[Asked]:
    """The items with the kind of their question among their subsets."""
    kinds = [f"{one.lang} {kind(one.prompt)}".strip() for one in asked]
    number = Counter(kinds)
    return [
        replace(one, subsets=(*one.subsets, f"kind: {name if number[name] >= least else OTHER}"))
        for one, name in zip(asked, kinds, strict=True)
    ]


def kind(prompt: str) -> str:
    """The kind of a question, by how its last sentence begins: two words, or as many letters of a script without spaces."""
    sentences = [one.strip() for one in re.split(r"(?<=[.。!！?？])\s*", prompt) if one.strip()]
    last = sentences[-1] if sentences else ""
    if HAN.search(last):
        return last[:2]
    return " ".join(last.lower().split()[:2])


def most_frequent(asked: Sequence[Asked], given: Given, task: str) -> list[str] | None:
    """The most frequent answer of training to the same question, else to its kind, else in its language."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    with given.snapshot.connect() as db:
        for lang, prompt, text, n in db.sql(KNOWN, params={"task": task}).fetchall():
            for key in (prompt, f"kind {kind(prompt)}", ""):
                counts[lang, key][text] += n
    if not counts:
        return None
    best = {key: min(one.items(), key=lambda pair: (-pair[1], pair[0]))[0] for key, one in counts.items()}
    return [
        next(
            (best[a.lang, key] for key in (a.prompt, f"kind {kind(a.prompt)}", "") if (a.lang, key) in best),
            "",
        )
        for a in asked
    ]
