"""Batches are packed by a thread ahead of the steps that read them: a step finds its batch ready.

The corpus is arrays in memory or mapped from files, so nothing is read or copied but what a batch holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Made = TypeVar("Made")
AHEAD = 2
"""Batches that are ready or being packed."""


class Loader(Generic[Made]):
    """Hands out the batches of one step after the other."""

    def __init__(self, make: Callable[[int], Made]) -> None:
        """`make` packs the batch of a step."""
        self.make = make
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="load")
        self.ready: dict[int, Future[Made]] = {}
        self.waited = 0.0
        """Seconds that steps have waited since `take_waited`."""

    def __enter__(self) -> Loader[Made]:
        return self

    def __exit__(self, *args: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def take(self, step: int) -> Made:
        """The batch of a step; those of the next steps are packed meanwhile."""
        wanted = range(step, step + 1 + AHEAD)
        self.ready = {s: self.ready.get(s) or self.pool.submit(self.make, s) for s in wanted}
        began = time.perf_counter()
        batch = self.ready.pop(step).result()
        self.waited += time.perf_counter() - began
        return batch

    def take_waited(self) -> float:
        """Seconds of waiting since the last call."""
        waited, self.waited = self.waited, 0.0
        return waited
