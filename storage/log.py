"""A Delta table's log, read where delta-rs falls short: which parts are committed, and is it whole?

delta-rs answers `transaction_version` by replaying the log (1.6 ms each time), and takes an empty commit
file for an empty commit. Here each commit file is read once, checked, and its parts are kept in a set.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from storage.errors import StoreCorrupt, first_line
from storage.location import Location

AT_ONCE = 8
"""Logs in a bucket that are asked at once."""


class Log:
    """The commits of one table; `refresh` reads only what is new."""

    def __init__(self, table: Location) -> None:
        self.table = table
        self.folder = table / "_delta_log"
        self.version = -1
        self.parts: set[str] = set()
        self.writer: DeltaTable | None = None
        """The handle that the last commit was made with; whoever holds the table's lock may use it."""
        self._guard = threading.Lock()
        self._looked = False

    def refresh(self) -> int:
        """Takes in new commits and returns the newest version, -1 when there is no table.

        Raises:
            StoreCorrupt: a commit file is empty, cut off or not JSON.
        """
        with self._guard:
            if self.version < 0 and not self._looked:
                self._from_checkpoint()
                self._looked = True  # a table that is made later begins with its first commit
            while (text := self._read(self.version + 1)) is not None:
                self.parts.update(self._parts(self.version + 1, text))
                self.version += 1
            return self.version

    def _read(self, version: int) -> str | None:
        content = self.folder.read(commit_file(version))
        try:
            return None if content is None else content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._corrupt(version, first_line(error)) from None

    def _parts(self, version: int, text: str) -> list[str]:
        try:
            actions = [json.loads(line) for line in text.splitlines() if line.strip()]
            info = next(action["commitInfo"] for action in actions if "commitInfo" in action)
            parts = [action["txn"]["appId"] for action in actions if "txn" in action]
            added = sum("add" in action for action in actions)
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise self._corrupt(version, first_line(error) or "no commitInfo") from None
        metrics: Any = info.get("operationMetrics") or {}
        expected = info.get("added", metrics.get("num_added_files", added))
        if expected != added or info.get("parts", len(parts)) != len(parts):
            raise self._corrupt(version, "cut off")
        return parts

    def added(self, version: int) -> list[str]:
        """Names of the data files that a commit added."""
        text = self._read(version)
        if text is None:
            raise self._corrupt(version, "missing")
        self._parts(version, text)  # checks it
        actions = (json.loads(line) for line in text.splitlines() if line.strip())
        return [unquote(action["add"]["path"]) for action in actions if "add" in action]

    def _from_checkpoint(self) -> None:
        """Starts at the last checkpoint: thousands of commits are then read in one file."""
        try:
            last = json.loads(self.folder.read("_last_checkpoint") or b"")["version"]
            content = self.folder.read(f"{last:020}.checkpoint.parquet")
            if content is None:
                return
            rows = pq.read_table(pa.BufferReader(content), columns=["txn"]).column("txn").to_pylist()
        except (OSError, ValueError, KeyError):
            return  # the JSON commits are never cleaned up, so version 0 is as good a start
        self.parts.update(row["appId"] for row in rows if row and row["appId"])
        self.version = last

    def _corrupt(self, version: int, why: str) -> StoreCorrupt:
        return StoreCorrupt(
            f"{self.table.name}: commit {version} in {self.folder} cannot be read ({why}). "
            "Restore the file, or the store with `millrace restore`."
        )


def commit_file(version: int) -> str:
    """The name of a version's commit."""
    return f"{version:020}.json"


def newest(logs: Sequence[Log]) -> list[int]:
    """The newest version of each log; those in a bucket are asked for several at once."""
    if not logs or not logs[0].table.remote:
        return [log.refresh() for log in logs]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(Log.refresh, logs))
