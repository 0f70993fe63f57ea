"""One DuckDB for many pages: it sees the newest version of every table, and is made anew when one has changed.

Nothing is locked and no table is written (answers are kept beside them: storage.kept): a page reads the Parquet files of the
versions that it began with, and those stay while the store's history is kept (`maintain`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

from dashboards.ask import Session
from storage import views
from storage.kept import Kept
from storage.store import Store

OLDEST_S = 60.0
"""Seconds after which the files are looked at anew even if no table has changed: a takedown writes old ones again."""
MOST_ANSWERS = 200
PATIENCE_S = 60.0
"""Seconds that a page may take before its question is given up."""


class Slow(Exception):
    """A page's question took too long; the message says what to ask instead."""


class Answers:
    """What was computed for one version of the tables, by question; the oldest goes first."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}
        self._asked: dict[Hashable, threading.Lock] = {}
        self._guard = threading.Lock()

    def once(self, question: Hashable, compute: Callable[[], Any]) -> Any:
        """The answer, computed when it is first asked for; whoever asks the same meanwhile waits for it, and nobody else."""
        with self._guard:
            alone = self._asked.setdefault(question, threading.Lock())
        with alone:
            answer = self._found.get(question, self)
            if answer is self:  # nothing yet: an answer may be None
                answer = compute()
                with self._guard:
                    self._found[question] = answer
                    while len(self._found) > MOST_ANSWERS:
                        oldest = next(iter(self._found))
                        del self._found[oldest]
                        self._asked.pop(oldest, None)
            return answer


class Reader:
    """Cursors on the newest versions of a store's tables, for any number of threads."""

    def __init__(self, store: Store, threads: int = 2) -> None:
        self.store, self.threads = store, threads
        self._guard = threading.Lock()
        self._versions: dict[str, int] | None = None
        self._made = 0.0
        self._db: duckdb.DuckDBPyConnection
        self._kept: Kept
        self._answers = Answers()

    @contextmanager
    def looking(self) -> Iterator[tuple[Session, Answers]]:
        """A session of its own, and what others computed for the same versions.

        Raises:
            Slow: the questions asked in it took longer than `PATIENCE_S`.
        """
        db, kept, answers = self._newest()
        cursor = views.session(db.cursor())
        ended = threading.Timer(PATIENCE_S, cursor.interrupt)
        ended.daemon = True
        ended.start()
        try:
            yield Session(cursor, kept), answers
        except duckdb.InterruptException as error:
            raise Slow(
                f"this took longer than {PATIENCE_S:.0f} s and was given up: narrow the search, or ask with `millrace sql`"
            ) from error
        finally:
            ended.cancel()
            cursor.close()

    def _newest(self) -> tuple[duckdb.DuckDBPyConnection, Kept, Answers]:
        """Cursors of an older connection go on: DuckDB keeps it for as long as one of them is open."""
        with self._guard:
            versions = self.store.versions()
            if versions != self._versions or time.monotonic() - self._made > OLDEST_S:
                if versions != self._versions:
                    self._answers = Answers()
                self._db = self.store.connect(versions, threads=self.threads)
                self._kept = Kept(self.store, versions)
                self._versions, self._made = versions, time.monotonic()
            return self._db, self._kept, self._answers
