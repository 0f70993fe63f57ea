"""What every task is: its own settings, the items that it asks, and what it makes of the answers.

A task is loaded by name, `model.tasks.vqa`, and is the one class of its file; there is nothing to register.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

import numpy as np
from pydantic import ValidationError

from model import templates
from model.generate import Model
from model.measures import Counted
from model.outcome import Asked, Outcome
from model.tokenizers import Tokenizers
from storage.settings import Settings
from storage.snapshot import Snapshot

NAMES = (
    "caption", "vqa", "translate", "qa", "summarize", "title", "text_to_image", "retrieval", "classify", "perplexity",
    "memorisation", "safety", "bias",
)  # fmt: skip
"""All tasks, those that look at the answers of others last."""
PART = "model.tasks"
Measure = Callable[[Sequence[str], Sequence[str], Sequence[str]], Counted]
"""Said, expected and languages to what is counted."""

ROWS = """
WITH known AS (
    SELECT DISTINCT text FROM samples JOIN members m USING (sample_id) WHERE m.split = 'train' AND task = $task)
SELECT s.sample_id, coalesce(s.lang, '') AS lang, coalesce(s.prompt, '') AS prompt, s.text AS expected,
       coalesce(s.image_id, '') AS image_id, s.source, coalesce(s.label, '') AS label, known.text IS NOT NULL AS seen
FROM samples s JOIN members m USING (sample_id) LEFT JOIN known ON known.text = s.text
WHERE m.split = $split AND s.task = $task AND s.text IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY s.lang ORDER BY md5(s.sample_id)) <= $most
ORDER BY s.sample_id
"""


class TaskError(Exception):
    """A task cannot be run; the message says which, and what to change."""


@dataclass(frozen=True)
class Examined:
    """A model of our own that is asked."""

    model: Model
    tokenizers: Tokenizers
    codes: Callable[[Sequence[str]], np.ndarray]
    """Ids of pictures to int codes `[n, codes]`."""


@dataclass(frozen=True)
class Hands:
    """What a task may need and cannot know: the flow hands it in. What is None is not at hand."""

    pixels: Callable[[Sequence[str]], np.ndarray] | None = None
    """Ids of pictures to uint8 `[n, size, size, 3]`."""
    attributes: Callable[[str], Mapping[str, Any] | None] | None = None
    """Takes an English caption apart; "unseen" tells that training never shows such a thing."""
    judge: Callable[[], Any] | None = None
    """The judge of drawn pictures (`model.judge`), and the held-out captions that it may be asked about."""
    draw: Callable[[Sequence[tuple[str, str]]], np.ndarray] | None = None
    """Pictures from (language, text)."""
    alike: Callable[[Sequence[np.ndarray], Sequence[str]], np.ndarray] | None = None
    """How alike an image-text model finds pictures and texts, -1 to 1."""
    personal: Callable[[str], int] | None = None
    """Counts addresses, telephone and other personal numbers of a text."""
    people: Callable[[str, str], Sequence[str]] | None = None
    """Groups of people that a text in a language speaks of."""


@dataclass(frozen=True)
class Given:
    """What a task is run on."""

    snapshot: Snapshot
    answer: Callable[[Sequence[Asked]], list[str]]
    """Asks whoever is examined, in order."""
    split: str = "test"
    most: int = 500
    """Items of each language, or pair of them, drawn by the hash of their ids."""
    examined: Examined | None = None
    """None where answers alone can be had of it."""
    hands: Hands = Hands()
    done: Mapping[str, Outcome] = field(default_factory=dict)
    """What the tasks before came to."""

    def wide(self) -> Given:
        """The same without a limit on items."""
        return replace(self, most=1 << 30)

    def codes(self, image_ids: Sequence[str]) -> np.ndarray:
        """Codes of pictures, for a model of our own."""
        assert self.examined is not None, "only a model of our own sees codes"
        return self.examined.codes(image_ids)


class Task(Settings):
    """Something that a model is used for."""

    answers: ClassVar[bool] = False
    """Whether all it needs is a text for each item, which any endpoint can give."""
    after: ClassVar[bool] = False
    """Whether it looks at what was answered to other tasks."""

    @classmethod
    def name(cls) -> str:
        """The name of its file."""
        return cls.__module__.rpartition(".")[2]

    def run(self, given: Given) -> Outcome | None:
        """What comes of it; None where the snapshot or whoever is examined has nothing that it needs."""
        raise NotImplementedError


class AnswerTask(Task):
    """A task whose items are answered by a text each."""

    answers: ClassVar[bool] = True
    measures: ClassVar[Mapping[str, Measure]] = {}
    baseline: ClassVar[str] = ""

    def run(self, given: Given) -> Outcome | None:
        asked = self.items(given)
        return self.measured(asked, given.answer(asked), self.trivial(asked, given)) if asked else None

    def items(self, given: Given) -> list[Asked]:
        """What is asked."""
        return [self.item(row) for row in rows(given, self.name())]

    def item(self, row: Mapping[str, Any]) -> Asked:
        """The item of a row: its text is right, its prompt is asked, and no picture is shown."""
        return asked_of(row, self.name(), picture=False)

    def trivial(self, asked: Sequence[Asked], given: Given) -> list[str] | None:
        """What the baseline says; None where there is no baseline."""
        return None

    def measured(self, asked: Sequence[Asked], said: Sequence[str], trivial: Sequence[str] | None) -> Outcome:
        """The answers under every measure."""
        right, langs = [one.expected for one in asked], [one.lang for one in asked]
        found = {name: measure(said, right, langs) for name, measure in self.measures.items()}
        beside = {}
        if trivial is not None:
            beside = {name: measure(trivial, right, langs) for name, measure in self.measures.items()}
        return Outcome(self.name(), asked, said, found, self.baseline, beside, trivial or ())

    def words(self, asked: Asked) -> str:
        """The item in words, for whoever is asked as a person asks."""
        return templates.worded(self.name(), asked.lang, asked.prompt)


def rows(given: Given, task: str) -> list[dict[str, Any]]:
    """Held-out rows of a task; `seen` tells whether training has the same text for it."""
    with given.snapshot.connect() as db:
        found = db.sql(ROWS, params={"task": task, "split": given.split, "most": given.most})
        return found.to_arrow_table().to_pylist()


def asked_of(row: Mapping[str, Any], task: str, *, picture: bool) -> Asked:
    """A row of `rows` as an item."""
    facets = {name: row[name] for name in ("source", "label") if row[name]}
    return Asked(
        row["sample_id"],
        row["lang"],
        row["expected"],
        row["prompt"],
        row["image_id"] if picture else "",
        subsets=("seen text" if row["seen"] else "new text",),
        facets=facets,
        task=task,
    )


def answered(given: Given) -> list[tuple[Asked, str]]:
    """Every item of the tasks that a text answers, and what was said."""
    return [
        pair
        for task, outcome in sorted(given.done.items())
        if load(task).answers
        for pair in zip(outcome.asked, outcome.said, strict=True)
    ]


def load(name: str, settings: Mapping[str, Any] | None = None) -> Task:
    """The task of a name, with its settings.

    Raises:
        TaskError: there is none, or a setting is unknown or out of range.
    """
    if not re.fullmatch(r"[a-z_]+", name) or name not in NAMES:
        raise TaskError(f'no task "{name}": use one of {", ".join(NAMES)}')
    module = importlib.import_module(f"{PART}.{name}")
    kinds = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Task) and one.__module__ == module.__name__
    ]
    try:
        return cast(Task, kinds[0](**(settings or {})))
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise TaskError(f"[evaluate.settings.{name}] {told}") from error
