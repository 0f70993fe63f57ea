"""A running `millrace up`, as its API shows it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def until(condition: Callable[[], object], seconds: float = 120) -> bool:
    """Looks again and again; True as soon as it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Up:
    """A running `millrace up` and its API."""

    def __init__(self, command: Any, port: int, wait_until: Callable[..., bool]) -> None:
        self.command, self.wait_until = command, wait_until
        self.url = f"http://127.0.0.1:{port}"
        self.login: httpx.BasicAuth | None = None
        told = wait_until(lambda: "Ctrl-C" in command.said() or not command.alive(), 280)
        assert told and command.alive(), command.said()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        def asked() -> httpx.Response:
            return httpx.request(method, f"{self.url}/api{path}", json=body, timeout=60, auth=self.login)

        answer = asked()
        for _ in range(20):  # SQLite is locked for a moment: the server asks us to come again
            if answer.status_code != 503:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
            answer = asked()
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deployments(self) -> dict[str, Any]:
        return {one["name"]: one for one in self.ask("POST", "/deployments/filter", {})}

    def start(self, name: str, due: datetime | None = None, **parameters: Any) -> str:
        """Starts a run as the page's button does; with `due` it should have begun then."""
        chosen = self.deployments()[name]["id"]
        body: dict[str, Any] = {"parameters": parameters}
        if due:
            body["state"] = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
        return self.ask("POST", f"/deployments/{chosen}/create_flow_run", body)["id"]

    def state(self, run: str) -> str:
        return self.ask("GET", f"/flow_runs/{run}")["state"]["type"]

    def runs(self, flow: str = "", state: str = "") -> list[dict[str, Any]]:
        """Those of a flow, or in a state."""
        asked: dict[str, Any] = {}
        if flow:
            asked["flows"] = {"name": {"any_": [flow]}}
        if state:
            asked["flow_runs"] = {"state": {"type": {"any_": [state]}}}
        return self.ask("POST", "/flow_runs/filter", asked)

    def finished(self, run: str, seconds: float = 240) -> str:
        assert self.wait_until(lambda: self.state(run) in ENDED, seconds), self.command.said()
        return self.state(run)

    def begun(self, work: Callable[[], object]) -> None:
        """Waits until some work of a flow can be seen."""
        assert self.wait_until(work, 240), self.command.said()

    def processes(self, *words: str) -> list[int]:
        """Those of its processes whose command line holds one of the words."""
        lines = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in self.command.family()}
        return [pid for pid, line in lines.items() if any(word in line for word in words)]

    def kill(self, *words: str) -> None:
        """kill -9 on the one process with such a command line."""
        [pid] = self.processes(*words)
        os.kill(pid, signal.SIGKILL)

    def kill_flow(self) -> None:
        self.kill("prefect.engine", "prefect.flow_engine")

    def kill_server(self) -> None:
        self.kill("flows.server")

    def stop(self) -> None:
        self.command.process.send_signal(signal.SIGTERM)
        assert self.command.process.wait(90) == 0, self.command.said()
        assert self.command.gone(10)
