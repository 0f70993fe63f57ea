"""Two models that were asked the same items: how much more often the second is right, with the bounds of a paired bootstrap,
over all and in every group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.evaluate import RESAMPLES
from model.measures import resamples
from model.outcome import Outcome

ROUNDING = 1e-9


@dataclass(frozen=True)
class Pair:
    """An item and whether each of the two was right."""

    before: bool
    after: bool
    groups: tuple[str, ...] = ()
    """What it belongs to: a task, a language, a source …"""


@dataclass(frozen=True)
class Change:
    """What the second gains on some items: shares, and the bounds of the 95% interval of their difference."""

    items: int
    before: float
    after: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """Share of items by which the second is right more often."""
        return self.after - self.before


def changes(pairs: Iterable[Pair], seed: int = 0) -> dict[str, Change]:
    """The change over "all" and in each group; nothing where there are no items."""
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        for group in ("all", *pair.groups):
            found.setdefault(group, []).append(pair)
    return {group: change(some, seed) for group, some in sorted(found.items())}


def change(pairs: Sequence[Pair], seed: int = 0) -> Change:
    """The change on these items. Drawing n pairs again counts a multinomial: won, lost and equal ones."""
    n = len(pairs)
    won = sum(pair.after and not pair.before for pair in pairs)
    lost = sum(pair.before and not pair.after for pair in pairs)
    rng = np.random.Generator(np.random.Philox(key=[seed, n]))
    drawn = rng.multinomial(n, [won / n, lost / n, (n - won - lost) / n], RESAMPLES)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, [0.025, 0.975])
    before = sum(pair.before for pair in pairs) / n
    after = sum(pair.after for pair in pairs) / n
    return Change(n, before, after, float(low), float(high))


def fallen(
    found: Mapping[str, Change], most: float, of: Mapping[str, float], least_items: int
) -> dict[str, Change]:
    """The groups in which the second is right less often by more than their limit: `of` names limits of their own, and a
    group of few items says nothing."""
    return {
        group: one
        for group, one in found.items()
        if group != "all" and one.items >= least_items and -one.gain > of.get(group, most) + ROUNDING
    }


@dataclass(frozen=True)
class Contest:
    """Two answerers under one measure, on the same items of one subset."""

    task: str
    metric: str
    subset: str
    n: int
    before: float
    after: float
    trivial: float | None
    low: float
    high: float
    p: float
    """Two-sided: how often resampled items turn the difference round, or make it nothing."""

    @property
    def gain(self) -> float:
        """What the second has more."""
        return self.after - self.before


def contests(before: Outcome, after: Outcome, seed: int = 0) -> list[Contest]:
    """Every measure that both have, by a paired bootstrap: each resample scores both on the same items.

    Raises:
        ValueError: they were not asked the same items.
    """
    if [one.sample_id for one in before.asked] != [one.sample_id for one in after.asked]:
        raise ValueError("both must be asked the same items, in the same order")
    rows = []
    for subset, places in before.groups().items():
        weights = resamples(len(places), seed)
        for metric in (name for name in before.found if name in after.found):
            one, other = before.found[metric].of(places), after.found[metric].of(places)
            apart = other.score(weights @ other.sums) - one.score(weights @ one.sums)
            low, high = np.quantile(apart, [0.025, 0.975])
            rarer = min(int((apart <= 0).sum()), int((apart >= 0).sum()))
            p = min(1.0, 2 * (rarer + 1) / (len(apart) + 1))  # so many resamples tell no smaller one
            trivial = before.trivial[metric].of(places).whole() if metric in before.trivial else None
            found = (one.whole(), other.whole(), trivial, float(low), float(high), p)
            rows.append(Contest(before.task, metric, subset, len(places), *found))
    return rows
