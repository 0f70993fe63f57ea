"""A Prefect API for one command: one that runs already, or a small one that ends with us, even on kill -9.

Prefect's own temporary server outlives a killed flow; this one asks the kernel to be ended with its parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from flows.progress import say

LOOPBACK = "127.0.0.1"
READY_TIMEOUT_S = 300.0
WORDS = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")
"""Variables with the word (`user:password`) that the server asks for, and that its clients say."""
PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    """The Prefect API did not come up; the message says what to try."""


@contextmanager
def api() -> Iterator[str]:
    """URL of a Prefect API: PREFECT_API_URL if set, else of a server started here and stopped at the end.

    Raises:
        ServerError: it did not answer, or not in time.
    """
    share_word()
    given = os.environ.get("PREFECT_API_URL")
    if given:
        refuse_dead(given)
        yield given
        return
    port = free_port()
    url = f"http://{LOOPBACK}:{port}/api"
    say("[dim]starting a Prefect server for this run (10 to 20 s)[/]")
    process = start(port)
    try:
        os.environ["PREFECT_API_URL"] = url  # Prefect reads it once, when it is imported:
        from prefect.settings import PREFECT_API_URL, temporary_settings  # here, while the server starts

        wait_until_healthy(url, process)
        with temporary_settings(
            {PREFECT_API_URL: url}
        ):  # whoever imported Prefect before has read no address
            yield url
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        _send_logs()
        stop(process)


def share_word() -> None:
    """Who sets the word for one side, server or clients, means both: here they are started together."""
    given = [os.environ[name] for name in WORDS if os.environ.get(name)]
    for name in WORDS if given else ():
        os.environ.setdefault(name, given[0])


def refuse_dead(url: str) -> None:
    """Finds out at once what Prefect would try for minutes. Whatever else answers is left to Prefect to judge."""
    word = os.environ.get("PREFECT_API_AUTH_STRING", "")
    login = httpx.BasicAuth(*word.split(":", 1)) if ":" in word else None
    try:
        answer = httpx.get(f"{url}/admin/version", timeout=10, auth=login)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise ServerError(
            f"PREFECT_API_URL = {url}: no Prefect API answers there ({error}); start it, or unset the variable"
        ) from error
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise ServerError(
            f"PREFECT_API_URL = {url}: it asks for a user and a password (401): set PREFECT_API_AUTH_STRING=user:password"
        )


def _send_logs() -> None:
    """What still waits goes to the server while there is one."""
    if handlers := sys.modules.get("prefect.logging.handlers"):
        handlers.APILogHandler().flush()


def start(port: int, host: str = LOOPBACK, *, ui: bool = False) -> subprocess.Popen:
    """Starts a server that ends with us; with `ui` also the pages, the scheduler and the automations.

    Its words go to a log file: what a server says while it is being stopped helps nobody at the terminal.
    """
    log().parent.mkdir(parents=True, exist_ok=True)
    with log().open("ab") as words:
        kind = "ui" if ui else "api"
        command = [sys.executable, "-m", "flows.server", str(port), str(os.getpid()), kind, host]
        # pages that another machine opens ask the machine that they came from
        pages_ask = f"http://{host}:{port}/api" if host == LOOPBACK else "/api"
        env = {**os.environ, "PREFECT_UI_API_URL": pages_ask}
        # a session of its own: Ctrl-C is for us, and we stop it when nobody needs it any more
        return subprocess.Popen(
            command, stdout=words, stderr=words, stdin=subprocess.DEVNULL, env=env, start_new_session=True
        )


def log() -> Path:
    """Where a server that is started here says what it has to say."""
    return Path(os.environ.get("PREFECT_HOME", ".prefect")) / "server.log"


def stop(process: subprocess.Popen, seconds: float = 10) -> None:
    """Asks a process to end, and makes it end when it does not."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(url: str, process: subprocess.Popen) -> None:
    """Returns when the API answers."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"the Prefect server ended with status {process.returncode}: {log()} says why")
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise ServerError(
        f"the Prefect server did not answer within {READY_TIMEOUT_S:.0f} s; {log()} may say why"
    )


def end_with(parent: int) -> None:
    """Linux sends us SIGTERM when our parent dies; elsewhere the parent's `finally` must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            raise SystemExit(0)


def serve(port: int, ui: bool, host: str) -> None:
    """The API; without `ui` it has no pages and no background services."""
    import uvicorn
    from prefect.server.api.server import create_app

    if ui:
        import flows.mail  # noqa: F401  a block that it can write to

    app = create_app(ephemeral=not ui)
    uvicorn.run(app, host=host, port=port, log_level="error", lifespan="on")


if __name__ == "__main__":
    end_with(int(sys.argv[2]))
    serve(int(sys.argv[1]), sys.argv[3] == "ui", sys.argv[4])
