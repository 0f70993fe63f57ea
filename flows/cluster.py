"""Tasks of a flow on a Ray cluster: what processes do on one machine, done by every machine of the cluster.

Ray carries a task to a worker and its answer back, and does it again elsewhere when a machine dies. Rows and pictures never
travel: each machine reads and stages them in the store, which all see under one path.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections.abc import Sequence
from typing import Any

from flows.work import Maker, make_there
from pipeline.stage import Job
from storage.store import Store

TRIES = 5
"""Times that a task is done again when the machine or the worker that does it dies."""
ANSWERS_S = 10.0
EXTRA = 'runner = "ray" needs Ray: pip install "millrace[ray]", on every machine of the cluster'
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing phones home
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a warning about GPUs that tasks did not ask for
}


class ClusterError(Exception):
    """The Ray cluster cannot do the work; the message says what to start or install."""


def check(address: str) -> None:
    """Finds out at once what would be told only after Prefect and Ray have started.

    Raises:
        ClusterError: Ray is not installed, or nobody answers at the address.
    """
    _import(address)
    if address:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), ANSWERS_S).close()
        except OSError as error:
            raise ClusterError(
                f"[run] address = {address!r}: no Ray cluster answers there ({error.strerror or error}); start one with "
                "`ray start --head`, or leave the address out for one on this machine alone"
            ) from error


class Cluster:
    """A cluster that is there, or one of this machine alone that ends with us."""

    def __init__(self, address: str, workers: int) -> None:
        """Joins the cluster at an address, or starts one with so many workers.

        Raises:
            ClusterError: it does not answer, has no core to work on, or is of another version.
        """
        check(address)
        self._ray = _import(address)
        where = {"address": address or "local", **({} if address else {"num_cpus": workers})}
        heard = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", **where)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterError(f"Ray did not start: {_first_line(error)}") from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(
                signal.SIGTERM, heard
            )  # Ray would end the process with a status; Prefect ends the flow
        if self._ray.cluster_resources().get("CPU", 0) < 1:
            self._ray.shutdown()
            raise ClusterError("no machine of the Ray cluster has a core: start one without --num-cpus=0")
        self._task = self._ray.remote(num_cpus=1, max_retries=TRIES)(make_there)
        self._guard = threading.Lock()
        self._function: tuple[Maker, Any] | None = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: Any) -> None:
        self._ray.shutdown()

    def make(self, function: Maker, store: Store, jobs: Sequence[Job]) -> list[str]:
        """Makes some parts of a stage on a worker, and waits for their keys.

        Raises:
            ClusterError: workers died at it again and again; else whatever the work itself raised.
        """
        errors = self._ray.exceptions
        seen = store.versions()
        task = self._task.remote(self._put(function), str(store.path), store.memory_limit, jobs, seen)
        try:
            return self._ray.get(task)
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", None)
            raise (cause if isinstance(cause, Exception) else ClusterError(str(error))) from None
        except errors.RayError as error:
            raise ClusterError(
                f"the Ray cluster could not do a task ({_first_line(error)}); what is committed stays, the same command goes on"
            ) from error

    def _put(self, function: Maker) -> Any:
        """The function of a stage, with the models that it needs: they travel once to each machine, not with each task."""
        with self._guard:
            if self._function is None or self._function[0] is not function:
                self._function = function, self._ray.put(function)
            return self._function[1]


def _import(address: str) -> Any:
    """Ray, which is imported only where it is asked for: a second, and an extra. It reads the environment once."""
    for name, value in {**QUIET, **({} if address else _alone())}.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise ClusterError(EXTRA) from error
    return ray


def _alone() -> dict[str, str]:
    """What Ray must know of a cluster of this machine alone: it listens on 127.0.0.1 only (the switch has an old name), and
    obeys nobody who lacks a token that is never written down."""
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
