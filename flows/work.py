"""What a worker does, and how it ends. It lies apart from the flows: what it imports, each worker waits for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from pipeline.stage import Job
from storage.beginning import using
from storage.errors import StoreNotFound
from storage.store import Store

Maker = Callable[[Store, Job], str]
CATCHES_UP_S = 60.0
"""A shared folder may show a machine what another wrote only after its cache of names has aged: NFS takes up to 30 s."""


def make(function: Maker, store: str, memory_limit: str, jobs: Sequence[Job]) -> list[str]:
    """Makes some parts of a stage, and returns their keys."""
    return each(function, Store.open(store, create=False, memory_limit=memory_limit), jobs)


def each(function: Maker, store: Store, jobs: Sequence[Job]) -> list[str]:
    """Makes parts; a takedown waits for them even where the flow that asked for them was killed."""
    with using(store):
        return [function(store, job) for job in jobs]


def make_there(
    function: Maker,
    store: str,
    memory_limit: str,
    jobs: Sequence[Job],
    seen: Mapping[str, int],
    patience: float = CATCHES_UP_S,
) -> list[str]:
    """The same on what may be another machine, once it sees the table versions that the flow has seen: of an older
    store it would find no rows, and stage none.

    Raises:
        StoreNotFound: the store is not under that path there, or stays behind.
    """
    here = socket.gethostname()
    try:
        opened = Store.open(store, create=False, memory_limit=memory_limit)
    except StoreNotFound as error:
        raise StoreNotFound(
            f"on {here}: {error}; all machines of the cluster must see it under this path"
        ) from None
    deadline = time.monotonic() + patience
    while behind := [name for name, version in seen.items() if opened.version(name) < version]:
        if time.monotonic() > deadline:
            raise StoreNotFound(
                f"on {here}: {store} is older than where the flow runs (table {behind[0]}): share one folder, and let no "
                "machine cache its names for long"
            )
        time.sleep(0.1)
    return each(function, opened, jobs)


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
