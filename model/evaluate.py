"""Scores: what the model said against what was right, with confidence intervals, and a baseline that only
looks.

How a sentence is taken apart into attributes is the corpus's own business: the flow hands that in.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from model.generate import Model, Question, Sampling, read_pictures
from model.tokenizers import Tokenizers

Parse = Callable[[str], Mapping[str, Hashable] | None]
"""A text to its attributes (count, colour …), or None if it is no sentence that can be taken apart."""
RESAMPLES = 2_000
NEIGHBOUR_ROWS = 256
"""Pictures compared with all known ones at a time."""


@dataclass(frozen=True)
class Answer:
    """An item: what was asked, what was right, what was said."""

    sample_id: str
    task: str
    lang: str
    expected: str
    output: str
    subsets: tuple[str, ...] = ()
    """Further groups to report apart, e.g. "unseen"."""

    @property
    def correct(self) -> bool:
        """Exactly right, white space at the ends apart."""
        return self.output.strip() == self.expected.strip()


@dataclass(frozen=True)
class Score:
    """A share of items, with the bounds of its 95% bootstrap interval."""

    task: str
    metric: str
    subset: str
    value: float
    low: float
    high: float
    n: int


@dataclass
class _Tally:
    """Right and wrong by (task, metric, subset)."""

    found: dict[tuple[str, str, str], list[bool]] = field(default_factory=dict)

    def add(self, answer: Answer, metric: str, right: bool) -> None:
        for subset in ("all", *filter(None, [answer.lang]), *answer.subsets):
            self.found.setdefault((answer.task, metric, subset), []).append(right)


def scores(answers: Iterable[Answer], parse: Parse | None = None, *, seed: int = 0) -> list[Score]:
    """The share of exactly right answers by task, over all, by language and by subset; where `parse` takes
    the expected text apart, also the share in which each of its attributes is right."""
    tally = _Tally()
    for answer in answers:
        tally.add(answer, "exact", answer.correct)
        wanted = parse(answer.expected) if parse else None
        if parse and wanted:
            said = parse(answer.output) or {}
            for name, value in wanted.items():
                if value is not None:
                    tally.add(answer, name, name in said and said[name] == value)
    return [
        Score(task, metric, subset, *interval(right, seed), len(right))
        for (task, metric, subset), right in sorted(tally.found.items())
    ]


def interval(right: Sequence[bool], seed: int = 0) -> tuple[float, float, float]:
    """Mean of n yes-or-no items and its 95% bootstrap bounds; drawing n of them again counts a binomial."""
    n, mean = len(right), float(np.mean(right))
    drawn = np.random.Generator(np.random.Philox(key=[seed, n])).binomial(n, mean, RESAMPLES) / n
    low, high = np.quantile(drawn, [0.025, 0.975])
    return mean, float(low), float(high)


@dataclass(frozen=True)
class Item:
    """A held-out sample to be answered: the row of `samples` that matters here."""

    sample_id: str
    picture: int
    """Index among the pictures' codes."""
    lang: str
    task: str
    prompt: str
    expected: str
    subsets: tuple[str, ...] = ()


def answer_items(
    model: Model,
    tokenizers: Tokenizers,
    codes: np.ndarray,
    items: Sequence[Item],
    *,
    batch: int = 128,
    most_tokens: int = 96,
    progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Greedy answers to items on pictures of int codes `[pictures, codes]`; `progress` hears (done,
    items)."""
    out: list[Answer] = []
    sampling = Sampling(max_tokens=most_tokens)
    ordered = sorted(items, key=lambda item: item.picture)  # a picture that is asked twice is read once
    for start in range(0, len(ordered), batch):
        part = ordered[start : start + batch]
        asked = [Question(i.picture, i.lang, i.task, tuple(tokenizers.encode(i.prompt))) for i in part]
        said = read_pictures(model, codes, asked, sampling, batch=batch)
        out += [
            Answer(i.sample_id, i.task, i.lang, i.expected, tokenizers.decode(ids), i.subsets)
            for i, ids in zip(part, said, strict=True)
        ]
        if progress:
            progress(len(out), len(ordered))
    return out


def caption_images(
    model: Model,
    tokenizers: Tokenizers,
    images: np.ndarray,
    *,
    lang: str = "en",
    task: str = "caption",
    prompt: str = "",
    sampling: Sampling = Sampling(),
    batch: int = 128,
) -> list[str]:
    """A text for each uint8 picture `[n, size, size, 3]`, greedily unless `sampling` says otherwise."""
    asked = [Question(i, lang, task, tuple(tokenizers.encode(prompt))) for i in range(len(images))]
    said = read_pictures(model, tokenizers.image.encode(images), asked, sampling, batch=batch)
    return [tokenizers.decode(ids) for ids in said]


def nearest_by_pixels(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """For each asked picture the index of the most similar known one, by the sum of squared differences:
    uint8 `[n, …]` and `[m, …]` to int64 `[m]`. The baseline: it copies that picture's text."""
    flat = torch.from_numpy(np.ascontiguousarray(known)).flatten(1).float()
    sizes = flat.square().sum(1)
    out = []
    for start in range(0, len(asked), NEIGHBOUR_ROWS):
        part = (
            torch.from_numpy(np.ascontiguousarray(asked[start : start + NEIGHBOUR_ROWS])).flatten(1).float()
        )
        out.append((sizes - 2 * part @ flat.T).argmin(1))
    return torch.cat(out).numpy() if out else np.zeros(0, np.int64)
