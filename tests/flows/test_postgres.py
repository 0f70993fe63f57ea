"""`millrace up` on a real Postgres: several flows at once, no task lost, none locked, and the password nowhere."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.config import ConfigError, parse
from flows.server import free_port
from tests.flows.databases import Postgres

FLOWS, TASKS = 3, 150
COMPLETED = {"state": {"type": {"any_": ["COMPLETED"]}}}


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("postgresql://millrace:hunter2@db/prefect", "no password here: set PGPASSWORD"),
        ("postgresql://db/prefect?user=millrace&password=hunter2", "no password here: set PGPASSWORD"),
        ("sqlite:///prefect.db", "a Postgres: postgresql://user@host/name"),
    ],
)
def test_a_configuration_takes_no_password_and_repeats_none(database: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse({"prefect": {"database": database}})
    assert said in str(refused.value)
    assert "hunter2" not in f"{refused.value} {refused.value.__cause__}"


def test_a_postgres_that_does_not_answer_is_told_at_once(gallery: Any, command: Any, tmp_path: Path) -> None:
    mill, port = gallery.copy(tmp_path / "project"), free_port()
    mill.change("[fetch]", f'[prefect]\ndatabase = "postgresql://millrace@127.0.0.1:{port}/prefect"\n[fetch]')
    one = command(mill, "up", "--port", str(free_port()), own_server=True)
    assert one.process.wait(60) == 1
    assert f"error: Postgres at 127.0.0.1:{port}: " in one.said()
    assert "leave [prefect] database out" in one.said()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_flows_at_once_lose_no_task(
    postgres: Postgres,
    gallery: Any,
    command: Any,
    process: Callable[..., Any],
    wait_until: Callable[..., bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mill, port = gallery.copy(tmp_path / "project"), free_port()
    mill.change("[fetch]", f'[prefect]\ndatabase = "{postgres.url}"\n[fetch]')
    monkeypatch.setenv("PGPASSWORD", "another")
    refused = command(mill, "up", "--port", str(port), own_server=True)
    assert refused.process.wait(60) == 1
    assert "password authentication failed" in refused.said()

    monkeypatch.setenv("PGPASSWORD", postgres.password)
    up = command(mill, "up", "--port", str(port), own_server=True)
    assert wait_until(lambda: "Ctrl-C" in up.said() or not up.alive(), 280) and up.alive(), up.said()
    assert f"millrace@127.0.0.1:{postgres.port}/postgres" in up.said()

    monkeypatch.delenv("PGPASSWORD")  # flows ask the API, not the database
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
    script = [sys.executable, str(Path(__file__).with_name("many_tasks.py"))]
    stores = [tmp_path / str(number) for number in range(FLOWS)]
    running = []
    for store in stores:
        store.mkdir()
        running.append(process(type(gallery)(store), *script, str(store / "store"), str(TASKS)))
    for one in running:
        one.wait()
        assert one.said().split()[0] == str(TASKS), one.said()

    client = httpx.Client(base_url=f"http://127.0.0.1:{port}/api", timeout=60)

    def count(kind: str, state: dict[str, Any]) -> int:
        return client.post(f"/{kind}_runs/count", json={f"{kind}_runs": state}).raise_for_status().json()

    # the states of tasks come as events, which the server writes down a little later
    assert wait_until(lambda: count("task", COMPLETED) == FLOWS * TASKS, 60), count("task", COMPLETED)
    assert (count("task", {}), count("flow", COMPLETED), count("flow", {})) == (FLOWS * TASKS, FLOWS, FLOWS)

    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(90) == 0
    words = (
        up.said() + (mill.path / ".prefect/server.log").read_text() + "".join(one.said() for one in running)
    )
    assert not [word for word in ("locked", "deadlock") if word in words], words
    assert not list(mill.path.rglob("*.db"))
    kept = [file for folder in (tmp_path, postgres.folder) for file in folder.rglob("*") if file.is_file()]
    assert len(kept) > 100
    assert not [file for file in kept if postgres.password.encode() in file.read_bytes()]
