"""`millrace up`: the Prefect server with its pages, and every deployment served, until Ctrl-C or SIGTERM.

Two children do the work: the server, and a runner (flows.deployments) that starts what is due. Both end with
this process, also when it is killed: the kernel sends them SIGTERM, and the runner ends the flows it started.
A server that dies is started anew: the runner and the flow that is on ask it again until it answers.
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
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

from rich.markup import escape

from flows import database, server
from flows.config import Config, ConfigError, read
from flows.progress import say
from flows.server import LOOPBACK, ServerError

RESTARTS = 3
WITHIN_S = 600.0
"""A server that dies more often than RESTARTS times in this time has a reason that another start does not mend."""
RUNNER_STOPS_S = 45.0
"""More than the runner itself gives its flows to save where they are."""


class Asked(Exception):
    """Somebody wants us to stop."""


def run(config: Path, port: int, host: str = LOOPBACK) -> None:
    """Starts everything, says where it is, and waits.

    Raises:
        ConfigError: the configuration cannot be used.
        ServerError: the port is taken, the database does not answer, or a part did not start or ended by itself.
    """
    settings = read(config)
    set_up(settings)
    kept = database.choose(settings.prefect.database)
    refuse_taken(host, port)
    os.environ |= {"PREFECT_API_URL": f"{address(host, port)}/api", "PREFECT_LOGGING_LEVEL": "INFO"}
    with asked_to_stop():
        try:
            serve(config.resolve(), port, host, kept)
        except Asked:
            say("stopped")


def set_up(config: Config) -> None:
    """What server and runner read from their environment; whoever runs this may have set it otherwise.

    Raises:
        ConfigError: a variable that the configuration names is not set.
    """
    name = config.notify.url_env
    if name and not os.environ.get(name):
        raise ConfigError(
            f'[notify] url_env = "{name}": this environment variable is not set; it holds the URL to tell'
        )
    server.share_word()
    late = str(config.notify.late_minutes * 60)
    os.environ.setdefault("PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS", late)


def address(host: str, port: int) -> str:
    """Where this machine reaches the server; it reaches one that listens everywhere on its loopback."""
    if host in ("0.0.0.0", "::"):  # noqa: S104
        host = LOOPBACK
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def refuse_taken(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerError(
                f"{host}, port {port}: {error.strerror}; choose another with --port or --host"
            ) from error


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


class Api:
    """The Prefect server, which is started anew when it dies."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port, self.url = host, port, address(host, port)
        self.deaths: list[float] = []
        self.process = server.start(port, host, ui=True)

    def wait(self) -> None:
        server.wait_until_healthy(f"{self.url}/api", self.process)

    def keep(self) -> None:
        """Starts it again if it has ended, and once more if it ends before it answers: its database may be gone, too.

        Raises:
            ServerError: it does not stay, or does not answer.
        """
        if self.process.poll() is None:
            return
        while (status := self.process.poll()) is not None:
            self.died(status)
            self.process = server.start(self.port, self.host, ui=True)
            try:
                self.wait()
            except ServerError:
                if self.process.poll() is None:  # it lives, and does not answer
                    raise
        say("the Prefect server answers again")

    def died(self, status: int) -> None:
        now = time.monotonic()
        self.deaths = [*(one for one in self.deaths if now - one < WITHIN_S), now]
        if len(self.deaths) > RESTARTS:
            raise ServerError(
                f"the Prefect server ended {len(self.deaths)} times, now with status {status}: {server.log()} says why"
            )
        say(f"[yellow]the Prefect server ended with status {status}; starting it again[/]")


def serve(config: Path, port: int, host: str, kept: str) -> None:
    """Server first, then the runner; stopped in the other order: the runner must say how its flows ended."""
    api = Api(host, port)
    try:
        api.wait()
        runner, retrain = start_runner(config)
        try:
            tell(api, kept, retrain)
            watch(api, runner)
        finally:
            server.stop(runner, RUNNER_STOPS_S)
    finally:
        server.stop(api.process)


def start_runner(config: Path) -> tuple[subprocess.Popen, str]:
    """Starts the runner and waits until its deployments are registered; the runner, and the id of the one that retrains."""
    ready, write = os.pipe()
    command = [sys.executable, "-m", "flows.deployments", str(config), str(os.getpid()), str(write)]
    with os.fdopen(ready, "rb") as ready_file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=(write,), start_new_session=True
        )
        os.close(write)
        try:
            if not (retrain := ready_file.read().decode()):
                raise ServerError("the deployments could not be registered: what is above says why")
        except BaseException:
            server.stop(process)
            raise
    return process, retrain


def tell(api: Api, kept: str, retrain: str) -> None:
    say(f"[bold]Prefect[/]      {api.url}")
    say(f"deployments  {api.url}/deployments")
    say(f"retraining   {api.url}/deployments/deployment/{retrain}")
    say(f"API          {api.url}/api")
    say(f"runs are in  {escape(kept)}")
    if open_to_all(api.host):
        say(
            f"[red]{api.host} is reached from other machines, and whoever reaches it may run flows here:[/] set "
            f"{server.WORDS[0]}=user:password, or leave --host out"
        )
    say("Ctrl-C stops it; schedules are switched on at their deployment's page")


def open_to_all(host: str, word: str | None = server.WORDS[0]) -> bool:
    """Whether other machines reach it, and need no password, which is in an environment variable."""
    if word and os.environ.get(word):
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def watch(api: Api, runner: subprocess.Popen) -> None:
    """Waits; ends only by a signal, or because a part has ended and cannot be had again."""
    while True:
        if runner.poll() is not None:
            raise ServerError(
                f"the runner of the deployments ended with status {runner.returncode}; start `millrace up` again"
            )
        api.keep()
        time.sleep(0.2)
