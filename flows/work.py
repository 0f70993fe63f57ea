"""What a worker does, and how it ends. It lies apart from the flows: what it imports, each worker waits for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence

from pipeline.stage import Job
from storage.store import Store

Maker = Callable[[Store, Job], str]


def make(function: Maker, store: str, memory_limit: str, jobs: Sequence[Job]) -> list[str]:
    """Makes some parts of a stage, and returns their keys."""
    opened = Store.open(store, memory_limit=memory_limit)
    return [function(opened, job) for job in jobs]


def begin() -> None:
    """Sets up a worker process: one core's work, Ctrl-C is the flow's to hear, and it ends with the flow."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is first imported, which is later
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_flow, name="end-with-flow", daemon=True).start()


def end_with_flow() -> None:
    """Ends this process when the flow was killed: alone, it would wait for work until the machine is restarted, and keep the
    process that it was forked from waiting, too."""
    flow = multiprocessing.parent_process()
    if flow is not None:
        flow.join()
        os._exit(1)
