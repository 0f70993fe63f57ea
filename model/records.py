"""What a run writes into the store's tables: how it stands, which samples its steps see, and its checkpoints."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from model.checkpoint import Checkpoint
from model.config import TrainConfig
from storage import clock
from storage.snapshot import Snapshot
from storage.store import Store

PLAN = pa.schema(
    [
        ("run_id", pa.string()),
        ("step", pa.int64()),
        ("slot", pa.int32()),
        ("sample_ids", pa.list_(pa.string())),
    ]
)


class Records:
    """The rows of one run: each is written once, whatever is killed and run again, and by one worker: the others are
    silent."""

    def __init__(
        self, store: Store, snapshot: Snapshot, config: TrainConfig, run_id: str, *, silent: bool = False
    ) -> None:
        self.silent = silent
        self.store, self.snapshot, self.config, self.run_id = store, snapshot, config, run_id

    def state(self, state: str) -> None:
        """How the run stands: started, finished."""
        row = {
            "run_id": self.run_id,
            "kind": "train",
            "state": state,
            "snapshot": self.snapshot.name,
            "config": self.config.model_dump_json(),
            "code_version": code_version(),
            "recorded_at": clock.after(self.store, "runs"),
        }
        self._append("runs", row, f"{self.run_id}/{state}")

    def planned(self, first: int) -> bool:
        """Whether the plan from this step on is written."""
        return self.silent or self.store.has("batch_plan", self._plan(first))

    def plan(self, first: int, steps: Sequence[Sequence[Sequence[str]]]) -> None:
        """The samples in each row of each step from `first` on."""
        rows = [
            {"run_id": self.run_id, "step": step, "slot": slot, "sample_ids": list(ids)}
            for step, slots in enumerate(steps, first)
            for slot, ids in enumerate(slots)
        ]
        self.store.append("batch_plan", pa.Table.from_pylist(rows, PLAN), parts=[self._plan(first)])

    def checkpoint(self, saved: Checkpoint) -> None:
        """The checkpoint's row."""
        row = {
            "checkpoint_id": saved.id,
            "run_id": self.run_id,
            "step": saved.step,
            "snapshot": self.snapshot.name,
            "path": str(saved.folder.relative_to(self.store.path)),
            "parameters": saved.meta["parameters"],
            "recorded_at": clock.after(self.store, "checkpoints"),
        }
        self._append("checkpoints", row, f"{self.run_id}/checkpoint/{saved.step}")

    def _plan(self, first: int) -> str:
        return f"{self.run_id}/plan/{first}"

    def _append(self, table: str, row: dict[str, Any], part: str) -> None:
        if not self.silent and not self.store.has(table, part):
            self.store.append(table, pa.Table.from_pylist([row]), parts=[part])


def code_version(root: Path = Path(__file__).parents[1]) -> str | None:
    """The package's version, and the commit if the code lies in a checkout; "-dirty" if that was changed since."""
    version = None
    with suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version("millrace")
    if not (root / ".git").exists():  # an installed package may lie inside somebody else's checkout
        return version
    asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    with suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
        return " at ".join(filter(None, [version, said]))
    return version
