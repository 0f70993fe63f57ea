"""A Delta table's log, read where delta-rs falls short: which parts are committed, and is it whole?

delta-rs answers `transaction_version` by replaying the log (1.6 ms each time), and takes an empty commit
file for an empty commit. Here each commit file is read once, checked, and its parts are kept in a set.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from storage import location
from storage.errors import StoreCorrupt, first_line, translated
from storage.location import Location

CACHED_LISTS = 256
"""Versions of a table whose lists of files are kept."""
AT_ONCE = 8
"""Logs in a bucket that are asked at once."""


class Log:
    """The commits of one table; what is asked for again reads only what is new."""

    def __init__(self, table: Location) -> None:
        self.table = table
        self.folder = table / "_delta_log"
        self.version = -1
        self.parts: set[str] = set()
        self.writer: DeltaTable | None = None
        """The handle that the last commit was made with; whoever holds the table's lock may use it."""
        self._reader: DeltaTable | None = None
        self._files: dict[int, list[str]] = {}
        self._guard = threading.RLock()
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

    def named(self, version: int | None = None) -> set[str]:
        """Names of all data files that commits up to a version, or the newest one, have added; some may be gone since."""
        newest = self.refresh() if version is None else version
        return {name for one in range(newest + 1) for name in self.added(one)}

    def files(self, version: int | None = None) -> list[str]:
        """Absolute paths of the Parquet files that make up a version, or the newest one.

        Raises:
            StoreCorrupt: the log cannot be read, or no longer holds that version.
        """
        with self._guard:
            if version is None or version > self.version:
                self.refresh()
            pinned = self.version if version is None else version
            if pinned < 0:
                return []
            if pinned not in self._files:
                if len(self._files) > CACHED_LISTS:
                    self._files.clear()
                names = (unquote(uri.rsplit("/", 1)[-1]) for uri in self._delta(pinned).file_uris())
                self._files[pinned] = sorted(map(self.table.file, names))
            return self._files[pinned]

    def _delta(self, version: int) -> DeltaTable:
        """A handle at a version; that of the newest one is kept, and only reads what was committed since."""
        with translated(self.table.name, self.table.explained):
            if version != self.version:
                return location.table(self.table, version)
            if self._reader is None:
                self._reader = location.table(self.table)
            elif self._reader.version() != version:
                self._reader.update_incremental()
            found = self._reader
            return found if found.version() == version else location.table(self.table, version)

    def look_anew(self) -> None:
        """Gives up its handles: they hold sizes of files that a takedown has written anew."""
        with self._guard:
            self.writer = self._reader = None

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


_SHARED: dict[tuple[int, Path, str], Log] = {}
_SHARED_GUARD = threading.Lock()


def shared(store: Path, table: Location) -> Log:
    """The process's one log of a table in a bucket for a store's folder, whose locks hold for it: a second Store on that
    folder, as each worker opens, must not ask for every commit again."""
    with _SHARED_GUARD:
        return _SHARED.setdefault((os.getpid(), store, f"{table.uri} {table.options}"), Log(table))


def newest(logs: Sequence[Log]) -> list[int]:
    """The newest version of each log; those in a bucket are asked for several at once."""
    if not logs or not logs[0].table.remote:
        return [log.refresh() for log in logs]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(Log.refresh, logs))
