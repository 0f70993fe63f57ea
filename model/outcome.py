"""What came of asking: items, what was said of each, and figures with their bounds beside a trivial baseline's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.evaluate import Score
from model.measures import Counted, resamples

ALL, WORST = "all", "worst group"


@dataclass(frozen=True)
class Asked:
    """An item: what is asked, and what would be right."""

    sample_id: str
    """The row that holds what is right."""
    lang: str
    expected: str
    prompt: str = ""
    image_id: str = ""
    """The picture that is shown; empty if none is."""
    part: str = ""
    """Tells several items of one row apart, e.g. "en-fr"."""
    prompt_id: str = ""
    """The row whose text is the prompt, if it is another one."""
    subsets: tuple[str, ...] = ()
    """What it is reported under, its language apart."""
    facets: Mapping[str, str] = field(default_factory=dict)
    """What is known of it beside: its source, its label …"""
    task: str = ""
    """Its tag in the sequences that the model was trained on."""


@dataclass(frozen=True)
class Outcome:
    """A task's items with what was said of them, under each of its measures, and the baseline's under the same."""

    task: str
    asked: Sequence[Asked]
    said: Sequence[str]
    found: Mapping[str, Counted]
    baseline: str = ""
    """Its name, which stands before its metrics; empty if there is none."""
    trivial: Mapping[str, Counted] = field(default_factory=dict)
    trivially_said: Sequence[str] = ()
    further: Sequence[Score] = ()
    """Scores that are no sum over these items."""
    parts: Sequence[Outcome] = ()
    """What came of asking the same task otherwise, with items and measures of their own."""

    def groups(self) -> dict[str, np.ndarray]:
        """The places of the items of each subset."""
        found: dict[str, list[int]] = {ALL: list(range(len(self.asked)))}
        for place, one in enumerate(self.asked):
            for subset in dict.fromkeys(filter(None, (one.lang, *one.subsets))):
                found.setdefault(subset, []).append(place)
        return {subset: np.array(places) for subset, places in sorted(found.items()) if places}

    def scores(self, seed: int = 0) -> list[Score]:
        """Every measure over all items and each subset, the baseline's under its name."""
        rows: list[Score] = []
        named = [(name, one) for name, one in self.found.items()]
        named += [(f"{self.baseline}_{name}", one) for name, one in self.trivial.items()]
        for subset, places in self.groups().items():
            weights = resamples(len(places), seed)
            for name, one in named:
                rows.append(Score(self.task, name, subset, *one.of(places).interval(weights), len(places)))
        return [*rows, *self.further, *(score for part in self.parts for score in part.scores(seed))]

    def kept(self) -> list[dict[str, Any]]:
        """A row of `answers` for each item."""
        each = {name: one.each for name, one in self.found.items()}
        own = [
            {
                "task": self.task,
                "sample_id": one.sample_id,
                "part_of": one.part,
                "prompt_id": one.prompt_id or None,
                "expected": one.expected,
                "output": said,
                "correct": said.strip() == one.expected.strip(),
                "trivial": self.trivially_said[place] if len(self.trivially_said) else None,
                "scores": json.dumps({name: round(float(x[place]), 6) for name, x in each.items()}),
            }
            for place, (one, said) in enumerate(zip(self.asked, self.said, strict=True))
        ]
        return [*own, *(row for part in self.parts for row in part.kept())]


def worst(scores: Iterable[Score], least: int) -> list[Score]:
    """The lowest score of each metric over the groups of at least so many items, named as the worst one."""
    lowest: dict[str, Score] = {}
    for one in scores:
        if one.subset != ALL and one.n >= least:
            known = lowest.get(one.metric)
            lowest[one.metric] = one if known is None or one.value < known.value else known
    return [
        Score(s.task, s.metric, f"{WORST}: {s.subset}", s.value, s.low, s.high, s.n) for s in lowest.values()
    ]
