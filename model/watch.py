"""Watches every step: a loss or a gradient that stands out is not learned from, and a run that learns no more ends.

All that it knows is plain numbers which go into the checkpoint's metadata: after a resume it judges as if nothing
had happened.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from model.config import EarlyStop, Spikes

OF_NORMAL = 1.4826
"""Median absolute deviation times this is the standard deviation of a normal distribution."""
LEAST_SHARE = 0.01
"""A deviation is at least this share of the median: a loss that hardly moves is not full of spikes."""


class Watch:
    """The running figures of one run."""

    def __init__(self, spikes: Spikes, early: EarlyStop | None) -> None:
        self.spikes, self.early = spikes, early
        self.losses: dict[str, list[float]] = {}
        self.norms: dict[str, list[float]] = {}
        """By kind of step: what has targets in pictures, too, has another loss than what is text alone."""
        self.skipped = 0
        """Steps skipped in a row."""
        self.best: float | None = None
        self.since = 0
        """Looks at held-out rows since the best one."""

    def wrong(self, loss: float, norm: float, kind: str = "") -> str | None:
        """Why a step must not be learned from; None if it may. Of its kind it counts for those that follow, also where it
        stood out: what goes on standing out is how things are now."""
        why = None
        for name, value, known, most in (
            ("loss", loss, self.losses, self.spikes.loss),
            ("gradient norm", norm, self.norms, self.spikes.gradient),
        ):
            before, found = known.get(kind, []), f"{name} is {value:.4g}"
            if not math.isfinite(value):
                why = why or found
                continue
            if len(before) >= self.spikes.window // 2 and value > (limit := bound(before, most)):
                why = why or f"{found}, above {limit:.4g}"
            known[kind] = [*before, value][-self.spikes.window :]
        self.skipped = self.skipped + 1 if why else 0
        return why

    @property
    def hopeless(self) -> bool:
        """Whether the run must end after a step that went wrong."""
        return self.spikes.action == "stop" or self.skipped >= self.spikes.most

    def enough(self, held_out: float) -> bool:
        """Takes the loss on held-out rows; whether the run has learned what it will learn."""
        assert self.early is not None
        if self.best is None or held_out < self.best - self.early.least:
            self.best, self.since = held_out, 0
        else:
            self.since += 1
        return self.since >= self.early.patience

    def state(self) -> dict[str, Any]:
        """What must be saved to go on as if nothing had happened."""
        names = ("losses", "norms", "skipped", "best", "since")
        return {name: getattr(self, name) for name in names}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` gave; nothing of a checkpoint without it."""
        for name in self.state().keys() & state.keys():
            setattr(self, name, state[name])


def bound(before: Sequence[float], most: float) -> float:
    """The value that lies so many deviations above the median; both are hardly moved by outliers."""
    middle = statistics.median(before)
    spread = OF_NORMAL * statistics.median(abs(value - middle) for value in before)
    return middle + most * max(spread, LEAST_SHARE * abs(middle), 1e-12)
