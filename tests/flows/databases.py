"""A Postgres of a test's own, which can be stopped and started again."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.server import free_port
from tests.flows.serving import until


class Postgres:
    """A server on loopback, whose user needs a password; its files are in a folder that ends with the test."""

    def __init__(self, top: Path) -> None:
        self.folder, self.port, self.password = top / "data", free_port(), secrets.token_hex(16)
        self._bin, self._owner = binaries(), somebody()
        self._prepare(top)
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://millrace@127.0.0.1:{self.port}/postgres"

    def _prepare(self, top: Path) -> None:
        told = top / "password"
        told.write_text(self.password)
        for path in (top, told):
            os.chown(path, self._owner.get("user", -1), self._owner.get("group", -1))
        asked = ["--username=millrace", "--auth=scram-sha-256", f"--pwfile={told}", "--no-sync"]
        subprocess.run(
            [self._bin / "initdb", "-D", self.folder, "--locale=C", "--encoding=UTF8", *asked],
            cwd=top,
            check=True,
            capture_output=True,
            **self._owner,
        )
        told.unlink()

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        given = [f"--{key}={value}" for key, value in settings.items()]
        self._server = subprocess.Popen(
            [self._bin / "postgres", "-D", self.folder, "-p", str(self.port), *given],
            cwd=self.folder.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._owner,
        )
        ready = self.folder / "postmaster.pid"
        assert until(lambda: ready.exists() and "ready" in ready.read_text(), 60)

    def stop(self) -> None:
        self._server.send_signal(signal.SIGINT)  # disconnects everybody
        self._server.wait(60)


@contextmanager
def a_postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="millrace-postgres-") as top:
        made = Postgres(Path(top))
        try:
            yield made
        finally:
            made.stop()


def binaries() -> Path:
    """Where initdb and postgres lie."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")), shutil.which("initdb")]
    for one in filter(None, found):
        folder = Path(one).resolve().parent
        if (folder / "postgres").exists():
            return folder
    pytest.skip("Postgres is not installed: apt-get install postgresql")


def somebody() -> dict[str, Any]:
    """Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    pytest.skip("Postgres does not run as root, and there is no user postgres or nobody")
