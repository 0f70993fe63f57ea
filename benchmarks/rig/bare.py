"""The stages of an ingest by a plain loop: the same threads and processes, and no Prefect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from flows.runners import Pool, Runner, Workers, done
from flows.work import Maker
from pipeline.stage import Job
from storage.store import Store


class BareWorkers(Workers):
    """`flows.runners.Workers` whose work is submitted to threads of Python's own."""

    def runner(self, pool: Pool | None) -> Runner:
        if not hasattr(self, "_plain"):
            self._plain = self._open.enter_context(ThreadPoolExecutor(self._run.workers))
        return BareRunner(self._plain, pool)


class BareRunner(Runner):
    """Submits a stage's work as calls."""

    def __init__(self, threads: ThreadPoolExecutor, pool: Pool | None) -> None:
        self._plain, self._pool = threads, pool

    def each(
        self, function: Maker, store: Store, chunks: Sequence[Sequence[Job]], label: str
    ) -> Iterator[list[str]]:
        calls = [self._plain.submit(done, self._pool, function, store, jobs) for jobs in chunks]
        for future in as_completed(calls):
            yield future.result()
