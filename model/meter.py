"""The figures of a run while it runs: collected, and committed every few seconds."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from storage.store import Store

FLUSH_SECONDS = 5.0
"""Metrics wait at most this long: a commit takes some tens of milliseconds."""


class Meter:
    """Collects metrics and commits them every few seconds, each logged step being a part of its own."""

    def __init__(self, store: Store, run_id: str, step: int) -> None:
        self.store, self.run_id = store, run_id
        self.waiting: dict[str, list[dict[str, Any]]] = {}
        self.tokens, self.since, self.flushed = 0, time.perf_counter(), time.perf_counter()

    def count(self, tokens: int) -> None:
        self.tokens += tokens

    def log(self, step: int, values: dict[str, float]) -> float:
        """Takes the figures of a step; returns tokens per second since the last ones (padding included)."""
        now = time.perf_counter()
        rate = self.tokens / max(now - self.since, 1e-9)
        self.tokens, self.since = 0, now
        part = f"{self.run_id}/metrics/{step}"
        values = values | {"tokens_per_second": rate}
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
        ]
        if now - self.flushed > FLUSH_SECONDS:
            self.flush()
        return rate

    def flush(self) -> None:
        """Commits what waits, but for what an earlier life of the run has committed."""
        parts = self.store.missing("metrics", list(self.waiting))
        if parts:
            rows = [row for part in parts for row in self.waiting[part]]
            self.store.append("metrics", pa.Table.from_pylist(rows), parts=parts)
        self.waiting, self.flushed = {}, time.perf_counter()
