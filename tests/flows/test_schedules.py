"""A deployment's schedules are a person's, once the deployment is there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx


def register(config: Path) -> None:
    """What `millrace up` does with one deployment at each start."""
    from flows.deployments import deployments, keep_schedules

    [deployment] = [one for one in deployments(config) if one.name == "ingest"]

    async def apply() -> None:
        await keep_schedules(deployment)
        await deployment.aapply()

    asyncio.run(apply())


def test_what_a_person_makes_of_a_schedule_stays_at_the_next_start(prefect_api: str, tmp_path: Path) -> None:
    """Switched on at another hour, one more without a name, and none at all."""

    def ask(method: str, path: str, body: Any = None) -> Any:
        answer = httpx.request(
            method, f"{prefect_api}/deployments/{path}", json=body, timeout=60
        ).raise_for_status()
        return answer.json() if answer.content else None

    def kept() -> list[tuple[str, bool]]:
        known = ask("GET", "name/ingest/ingest")
        return sorted((one["schedule"]["cron"], one["active"]) for one in known["schedules"])

    register(tmp_path / "millrace.toml")
    try:
        assert kept() == [("0 2 * * *", False)]
        known = ask("GET", "name/ingest/ingest")
        path = f"{known['id']}/schedules"
        [nightly] = known["schedules"]
        ask("PATCH", f"{path}/{nightly['id']}", {"active": True, "schedule": {"cron": "30 3 * * *"}})
        register(tmp_path / "millrace.toml")
        assert kept() == [("30 3 * * *", True)]
        ask("POST", path, [{"active": True, "schedule": {"cron": "0 12 * * *"}}])
        register(tmp_path / "other.toml")
        assert kept() == [("0 12 * * *", True), ("30 3 * * *", True)]
        assert ask("GET", "name/ingest/ingest")["parameters"] == {"config": str(tmp_path / "other.toml")}
        for one in ask("GET", "name/ingest/ingest")["schedules"]:
            ask("DELETE", f"{path}/{one['id']}")
        register(tmp_path / "millrace.toml")
        assert kept() == []
    finally:
        ask("DELETE", ask("GET", "name/ingest/ingest")["id"])
