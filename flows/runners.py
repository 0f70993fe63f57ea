"""Which Prefect task runner spreads a flow's tasks: threads or processes of this machine."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from flows.config import RunConfig

LOOK_EVERY_S = 0.5


def task_runner(run: RunConfig) -> Any:
    """A runner with `run.workers` workers."""
    if run.runner == "processes":
        return ProcessPoolTaskRunner(max_workers=run.workers, initializer=end_with, initargs=(os.getpid(),))
    return ThreadPoolTaskRunner(max_workers=run.workers)


def end_with(parent: int) -> None:
    """Ends a worker whose flow was killed: alone, it would wait for work until the machine is restarted.

    It looks, rather than asks the kernel for a signal: that one comes when the *thread* that started us ends.
    """

    os.environ["OMP_NUM_THREADS"] = (
        "1"  # read when torch is first imported, which is later: a worker is one core's work
    )

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
