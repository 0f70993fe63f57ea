"""Answers that are kept: what was counted over all rows need not be counted again until a table that it read has changed.

<store>/cache/answers/<question>-<digest>.parquet, named by all that the answer depends on: the SQL, its values, the views and
the versions of the tables that it reads. A takedown empties the folder, and nobody misses it. Totals are kept, and ids at most:
no text or picture of the corpus.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage import views
from storage.store import Store
from storage.tables import TABLES

FOLDER = ("cache", "answers")
FEW = 4
"""Answers to one question that stay, the newest: snapshots and checkpoints are asked about one after the other."""


class Kept:
    """The answers of one store at these versions of its tables."""

    def __init__(self, store: Store, versions: Mapping[str, int]) -> None:
        self._folder = store.path.joinpath(*FOLDER)
        self._versions = {table.name: versions.get(table.name, -1) for table in store.declared()}
        self._versions |= {name: versions.get(name, -1) for name in TABLES}
        derived = (*views.derived(store.declared()), *views.OVERVIEW)
        self._selects = {view.name: view.select for view in derived}

    def once(
        self, question: str, sql: str, values: Mapping[str, Any], compute: Callable[[], pa.Table]
    ) -> pa.Table:
        """The answer, computed where none is kept for what it depends on."""
        file = self._folder / f"{question}-{self._digest(sql, values)}.parquet"
        with suppress(OSError, pa.ArrowInvalid):  # not there, swept away meanwhile, or half of a full disk's
            return pq.read_table(file, memory_map=False)
        answer = compute()
        with suppress(OSError):  # an answer that cannot be kept is an answer
            self._keep(question, file.name, answer)
        return answer

    def _keep(self, question: str, name: str, answer: pa.Table) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        scratch = self._folder / f".{name}.{os.getpid()}"
        pq.write_table(answer, scratch)
        scratch.replace(self._folder / name)
        older = sorted(self._folder.glob(f"{question}-*.parquet"), key=lambda one: one.stat().st_mtime_ns)
        for one in older[:-FEW]:
            one.unlink(missing_ok=True)

    def _digest(self, sql: str, values: Mapping[str, Any]) -> str:
        reads = self.reads(sql)
        selects = [self._selects[name] for name in sorted(reads & self._selects.keys())]
        versions = {name: self._versions[name] for name in sorted(reads & self._versions.keys())}
        told = json.dumps([sql, dict(values), selects, versions], sort_keys=True, default=str)
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    def reads(self, sql: str) -> set[str]:
        """Names of the tables and views that a query asks, through views too; a word that only looks like one does no harm."""
        found: set[str] = set()
        waiting = [sql]
        while waiting:
            words = set(re.findall(r"\w+", waiting.pop()))
            new = (words & (self._selects.keys() | self._versions.keys())) - found
            found |= new
            waiting += [self._selects[name] for name in new if name in self._selects]
        return found
