"""`millrace up`: the Prefect server with its pages, and every deployment served, until Ctrl-C or SIGTERM.

Two children do the work: the server, and a runner (flows.deployments) that starts what is due. Both end with
this process, also when it is killed: the kernel sends them SIGTERM, and the runner ends the flows it started.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.markup import escape

from flows import database, server
from flows.config import read
from flows.progress import say
from flows.server import ServerError

HOST = "127.0.0.1"
RUNNER_STOPS_S = 45.0
"""More than the runner itself gives its flows to save where they are."""


class Asked(Exception):
    """Somebody wants us to stop."""


def run(config: Path, port: int) -> None:
    """Starts everything, says where it is, and waits.

    Raises:
        ConfigError: the configuration cannot be used.
        ServerError: the port is taken, the database does not answer, or a part did not start or ended by itself.
    """
    kept = database.choose(read(config).prefect.database)
    refuse_taken(port)
    os.environ |= {"PREFECT_API_URL": f"http://{HOST}:{port}/api", "PREFECT_LOGGING_LEVEL": "INFO"}
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")  # Prefect's least: see flows.automations
    with asked_to_stop():
        try:
            serve(config.resolve(), port, kept)
        except Asked:
            say("stopped")


def refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServerError(f"port {port}: {error.strerror}; choose another with --port") from error


@contextmanager
def asked_to_stop() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise Asked, once: a second one does not disturb the clearing up."""

    def ask(number: int, frame: FrameType | None) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)
        raise Asked

    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    for one in before:
        signal.signal(one, ask)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def serve(config: Path, port: int, kept: str) -> None:
    """Server first, then the runner; stopped in the other order: the runner must say how its flows ended."""
    api = server.start(port, ui=True)
    try:
        server.wait_until_healthy(f"http://{HOST}:{port}/api", api)
        runner = start_runner(config)
        try:
            tell(port, kept)
            watch({"the Prefect server": api, "the runner of the deployments": runner})
        finally:
            server.stop(runner, RUNNER_STOPS_S)
    finally:
        server.stop(api)


def start_runner(config: Path) -> subprocess.Popen:
    """Starts the runner and waits until its deployments are registered."""
    ready, write = os.pipe()
    command = [sys.executable, "-m", "flows.deployments", str(config), str(os.getpid()), str(write)]
    with os.fdopen(ready, "rb") as ready_file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=(write,), start_new_session=True
        )
        os.close(write)
        try:
            if not ready_file.read(1):
                raise ServerError("the deployments could not be registered: what is above says why")
        except BaseException:
            server.stop(process)
            raise
    return process


def tell(port: int, kept: str) -> None:
    say(f"[bold]Prefect[/]      http://{HOST}:{port}")
    say(f"deployments  http://{HOST}:{port}/deployments")
    say(f"API          http://{HOST}:{port}/api")
    say(f"runs are in  {escape(kept)}")
    say("Ctrl-C stops it; schedules are switched on at their deployment's page")


def watch(parts: dict[str, subprocess.Popen]) -> None:
    """Waits; ends only by a signal, or because a part has ended."""
    while True:
        for name, process in parts.items():
            if process.poll() is not None:
                raise ServerError(f"{name} ended with status {process.returncode}; start `millrace up` again")
        time.sleep(0.2)
