"""Answers that are kept: what was counted over all rows need not be counted again until a table that it read has changed.

<store>/cache/answers/<takedowns>/<question>-<digest>.parquet, named by all that the answer depends on: the SQL, its values, the
views and the versions of the tables that it reads. They hold totals, values that rows share (labels, hosts, words that several
texts have) and ids, so a takedown empties the folder, and an answer that was begun before it is not kept after it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage import views
from storage.store import Store
from storage.tables import TABLES

FOLDER = ("cache", "answers")
LOCK = "answers"
"""Held by whoever writes an answer, and by a takedown while it empties the folder."""
TAKEDOWNS = "blocklist"
"""The first table that a takedown writes."""
FEW = 12
"""Answers to one question that stay, the last used."""


class Kept:
    """The answers of one store at these versions of its tables."""

    def __init__(self, store: Store, versions: Mapping[str, int]) -> None:
        self.versions = dict(versions)
        self._store = store
        self._seen = {name: versions.get(name, -1) for name in (*TABLES, *(t.name for t in store.declared()))}
        derived = (*views.derived(store.declared()), *views.OVERVIEW)
        self._selects = {view.name: view.select for view in derived}
        self._folder = store.path.joinpath(*FOLDER, str(self._seen[TAKEDOWNS]))

    def once(
        self, question: str, sql: str, values: Mapping[str, Any], compute: Callable[[], pa.Table]
    ) -> pa.Table:
        """The answer, computed where none is kept for what it depends on."""
        file = self._folder / f"{question}-{self._digest(sql, values)}.parquet"
        with suppress(OSError, pa.ArrowInvalid):  # not there, swept away meanwhile, or torn
            answer = pq.read_table(file, memory_map=False)
            os.utime(file)
            return answer
        answer = compute()
        with suppress(OSError):  # one that cannot be kept is an answer, too
            self._keep(question, file, answer)
        return answer

    def _keep(self, question: str, file: Path, answer: pa.Table) -> None:
        with self._store.lock(LOCK):
            if self._store.version(TAKEDOWNS) != self._seen[TAKEDOWNS]:
                return  # what was forgotten meanwhile may be in it
            self._folder.mkdir(parents=True, exist_ok=True)
            for older in self._folder.parent.iterdir():
                if older != self._folder:  # before a takedown, by this machine or another one
                    shutil.rmtree(older, ignore_errors=True)
            handle, scratch = tempfile.mkstemp(dir=self._folder, prefix=".")
            os.close(handle)
            try:
                pq.write_table(answer, scratch)
                Path(scratch).replace(file)
            except BaseException:
                Path(scratch).unlink(missing_ok=True)
                raise
            used = sorted(self._folder.glob(f"{question}-*.parquet"), key=lambda one: one.stat().st_mtime_ns)
            for one in used[:-FEW]:
                one.unlink(missing_ok=True)

    def _digest(self, sql: str, values: Mapping[str, Any]) -> str:
        reads = self.reads(sql)
        selects = [self._selects[name] for name in sorted(reads & self._selects.keys())]
        versions = {name: self._seen[name] for name in sorted(reads & self._seen.keys())}
        told = json.dumps([sql, dict(values), selects, versions], sort_keys=True, default=str)
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    def reads(self, sql: str) -> set[str]:
        """Names of the tables and views that a query asks, through views too; a word that only looks like one does no harm."""
        return named(sql, {**dict.fromkeys(self._seen, ""), **self._selects})


def named(sql: str, known: Mapping[str, str]) -> set[str]:
    """Those of the known names that stand in a query, or in the SELECT of one that does; `known`: name to its SELECT."""
    found: set[str] = set()
    waiting = [sql]
    while waiting:
        text = waiting.pop()
        new = {
            name
            for name in known
            if name not in found and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)
        }
        found |= new
        waiting += [known[name] for name in new]
    return found
