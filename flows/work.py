"""What a worker does, and how it ends. It lies apart from the flows: what it imports, each worker waits for."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

from pipeline.stage import Job
from storage.store import Store

LOOK_EVERY_S = 0.5

Maker = Callable[[Store, Job], str]


def make(function: Maker, store: str, memory_limit: str, jobs: Sequence[Job]) -> list[str]:
    """Makes some parts of a stage, and returns their keys."""
    opened = Store.open(store, memory_limit=memory_limit)
    return [function(opened, job) for job in jobs]


def begin() -> None:
    """Sets up a worker process: one core's work, Ctrl-C is the flow's to hear, and it ends with the flow."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is first imported, which is later
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(os.getppid())


def end_with(parent: int) -> None:
    """Ends a worker whose flow was killed: alone, it would wait for work until the machine is restarted. What forked it
    ends with the flow.

    It looks, rather than asks the kernel for a signal: that one comes when the *thread* that started us ends.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
