"""Who does a flow's tasks: threads of this process, or processes or a Ray cluster that they hand them to."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Protocol

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.cluster import Cluster
from flows.config import RunConfig
from flows.work import Maker, begin, make
from model.machine import one_thread
from pipeline.decoders import prepare
from pipeline.stage import Job
from storage.store import Store

FEW = 8
"""Parts, of a thousand rows or so: what processes gain on them is less than it takes to load a model in each."""
SWITCH_EVERY_S = 0.0005
"""Tasks in threads let go of the interpreter for a moment, thousands of times a second: at Python's 5 ms they would mostly
wait to get it back."""


class WorkerDied(Exception):
    """A worker process was killed, or died for lack of memory; the message says what to change."""


class Pool(Protocol):
    """Does work elsewhere than in this process."""

    def make(self, function: Maker, store: Store, jobs: Sequence[Job]) -> list[str]:
        """Makes some parts of a stage, and waits for their keys."""


class Processes:
    """So many processes of this machine, forked from one that has imported what the mill needs."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, prepare(), initializer=begin)

    def __enter__(self) -> Processes:
        threading.Thread(target=self._fork, name="warm-workers", daemon=True).start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._pool.shutdown()

    def _fork(self) -> None:
        with suppress(RuntimeError):  # the run was over before
            for _ in range(self._workers):
                self._pool.submit(os.getpid)

    def make(self, function: Maker, store: Store, jobs: Sequence[Job]) -> list[str]:
        """Makes some parts of a stage in a process, and waits for their keys.

        Raises:
            WorkerDied: one of the processes has ended, and no other is started in its place.
        """
        try:
            return self._pool.submit(make, function, str(store.path), store.memory_limit, jobs).result()
        except BrokenProcessPool as error:
            raise WorkerDied(
                "a worker process was killed, or had no memory left; what is committed stays, the same command goes on: with "
                "fewer [run] workers, or a smaller memory_limit, if it was memory"
            ) from error


class Workers:
    """`run.workers` tasks at once, each one core's work, whoever does it: that sets the last bits of sums.

    Prefect's own runners start each process, and each worker of Ray, with an import of Prefect and all else, 4 s of a core.
    Here a task stays in a thread, and its work alone goes to a process or to the cluster.
    """

    def __init__(self, run: RunConfig) -> None:
        self._run, self._open = run, ExitStack()
        self._threads: TaskRunner[Any] | None = None
        self._pool: Pool | None = None

    def __enter__(self) -> Workers:
        return self

    def warm(self) -> None:
        """Starts the processes or the cluster, if work goes to any: a source that has changed is listed meanwhile. Where
        nothing is new, none is started."""
        if self._pool is not None or self._run.runner == "threads":
            return
        if self._run.runner == "ray":
            self._pool = self._open.enter_context(Cluster(self._run.address, self._run.workers))
        else:
            self._pool = self._open.enter_context(Processes(self._run.workers))

    def __exit__(self, *error: Any) -> None:
        self._open.close()

    @contextmanager
    def of(self, parts: int, alone: bool = False) -> Iterator[Runner]:
        """Who makes so many parts. `alone`: a process would need long before it can (load a model, start a decoder), so that a
        few parts are made by threads."""
        if parts > FEW or not alone:
            self.warm()
            if self._pool is not None:
                yield self.runner(self._pool)
                return
        with one_thread(), switching(SWITCH_EVERY_S):
            yield self.runner(None)

    def runner(self, pool: Pool | None) -> Runner:
        """Who submits the tasks; they are done here, or in the pool."""
        if self._threads is None:
            self._threads = self._open.enter_context(ThreadPoolTaskRunner(self._run.workers))
        return Runner(self._threads, pool)


class Runner:
    """Submits a stage's work as tasks, which carry names and keys, never tables or pictures."""

    def __init__(self, threads: TaskRunner[Any], pool: Pool | None) -> None:
        self._threads, self._task = threads, working(pool)

    def each(
        self, function: Maker, store: Store, chunks: Sequence[Sequence[Job]], label: str
    ) -> Iterator[list[str]]:
        """Makes the parts of a stage, those of a chunk one after the other; yields each chunk's keys as it is done."""
        futures = []
        for number, jobs in enumerate(chunks, 1):
            name = f"{label} {number}/{len(chunks)}"
            given = {"function": function, "store": store, "jobs": jobs, "label": name}
            futures.append(self._threads.submit(self._task, given))
        for future in as_completed(futures):
            yield future.result()


def working(pool: Pool | None) -> Task[..., list[str]]:
    """The task, done here or in the pool."""

    @task(name="work", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False)
    def work(function: Maker, store: Store, jobs: Sequence[Job], label: str) -> list[str]:
        return done(pool, function, store, jobs)

    return work


def done(pool: Pool | None, function: Maker, store: Store, jobs: Sequence[Job]) -> list[str]:
    """Makes some parts of a stage, here or in the pool."""
    if pool is not None:
        return pool.make(function, store, jobs)
    return make(function, str(store.path), store.memory_limit, jobs)


@contextmanager
def switching(seconds: float) -> Iterator[None]:
    """Threads change places so often meanwhile."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
