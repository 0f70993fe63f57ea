"""Who does a flow's tasks: threads of this process, or processes of this machine once there is enough to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from flows.config import RunConfig
from flows.work import end_with
from model.machine import one_thread

FEW = 8
"""Parts, of a thousand rows or so: what processes gain on them is less than they take to start."""


class Workers:
    """`run.workers` of them. A few parts are made in threads, also where processes are asked for: each of those takes seconds
    to start. Once they run, they do everything."""

    def __init__(self, run: RunConfig) -> None:
        self._run, self._open = run, ExitStack()
        self._threads: TaskRunner[Any] | None = None
        self._processes: TaskRunner[Any] | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()

    @contextmanager
    def of(self, parts: int) -> Iterator[TaskRunner[Any]]:
        """The runner for so many parts. Each task is one core's work, whoever does it: that sets the last bits of sums."""
        if self._run.runner == "processes" and (parts > FEW or self._processes):
            if self._processes is None:
                made = ProcessPoolTaskRunner(self._run.workers, initializer=end_with, initargs=(os.getpid(),))
                self._processes = self._open.enter_context(made)
            yield self._processes
            return
        if self._threads is None:
            self._threads = self._open.enter_context(ThreadPoolTaskRunner(self._run.workers))
        with one_thread():
            yield self._threads
