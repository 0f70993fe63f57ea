"""The task that workers run, and how they end. It lies apart from the flows: what a worker imports, each of them waits
for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline.stage import Job
from storage.store import Store

LOOK_EVERY_S = 0.5


@task(name="work", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False)
def work(
    function: Callable[[Store, Job], str], store: str, memory_limit: str, jobs: list[Job], label: str
) -> list[str]:
    """Makes some parts of a stage; carries names and keys, never tables or pictures."""
    opened = Store.open(store, memory_limit=memory_limit)
    return [function(opened, job) for job in jobs]


def end_with(parent: int) -> None:
    """Ends a worker whose flow was killed: alone, it would wait for work until the machine is restarted.

    It looks, rather than asks the kernel for a signal: that one comes when the *thread* that started us ends.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is first imported, which is later

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
