"""The figures of a run while it runs: collected, and committed every few seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from storage.store import Store

FLUSH_SECONDS = 5.0
"""Metrics wait at most this long: a commit takes some tens of milliseconds."""


class Meter:
    """Collects metrics and commits them every few seconds, each logged step being a part of its own."""

    def __init__(self, store: Store, run_id: str, *, silent: bool = False) -> None:
        self.store, self.run_id, self.silent = store, run_id, silent
        self.waiting: dict[str, list[dict[str, Any]]] = {}
        self.tokens, self.since, self.flushed = 0, time.perf_counter(), time.perf_counter()

    def count(self, tokens: int) -> None:
        self.tokens += tokens

    def log(self, step: int, values: Mapping[str, float], waited: float) -> float:
        """Takes the figures of a step and the seconds that steps waited for batches since the last ones; returns
        tokens per second since then (padding included)."""
        now = time.perf_counter()
        took = max(now - self.since, 1e-9)
        rate = self.tokens / took
        self.tokens, self.since = 0, now
        self.note("metrics", step, {**values, "tokens_per_second": rate, "loader_wait": waited / took})
        return rate

    def note(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Takes figures of a step; what is no number is left out."""
        now, part = time.perf_counter(), f"{self.run_id}/{kind}/{step}"
        self.waiting[part] = [
            {
                "run_id": self.run_id,
                "step": step,
                "name": name,
                "value": value,
                "recorded_at": datetime.now(UTC),
                "part": part,
            }
            for name, value in values.items()
            if math.isfinite(value)
        ]
        if now - self.flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Commits what waits, but for what an earlier life of the run has committed."""
        parts = [] if self.silent else self.store.missing("metrics", list(self.waiting))
        rows = [row for part in parts for row in self.waiting[part]]
        if rows:
            self.store.append("metrics", pa.Table.from_pylist(rows), parts=parts)
        self.waiting, self.flushed = {}, time.perf_counter()
