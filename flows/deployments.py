"""Every deployment: what Prefect may start, and when; and the process that starts what is due."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows import server


@dataclass(frozen=True)
class Deployment:
    """A flow that can be started from the UI, by a schedule or through the API."""

    name: str
    flow: str
    """Module and flow, e.g. "flows.ingest.ingest": found wherever the package is installed."""
    about: str
    cron: str | None = None
    active: bool = False
    """Whether its schedule runs from the start; it is switched on and off in the UI."""


DEPLOYMENTS = (
    Deployment("ingest", "flows.ingest.ingest", "Brings in what is new and commits a snapshot.", "0 2 * * *"),
    Deployment("train", "flows.train.train", "Trains on the newest snapshot.", "0 3 * * 0"),
    Deployment("evaluate", "flows.evaluate.evaluate", "Scores the newest checkpoint on the held-out rows."),
    Deployment("promote", "flows.promote.promote", "Holds the newest checkpoint against the champion."),
    Deployment(
        "retrain", "flows.retrain.retrain", "The whole mill: ingest, train, evaluate, promote, report."
    ),
    Deployment("drift", "flows.drift.drift", "Has the corpus moved away from the champion's?", "0 4 * * *"),
    Deployment("fit-filter", "flows.filtering_network.fit_filter", "Fits the filtering network anew."),
    Deployment("recheck", "flows.recheck.recheck", "Asks sites again; drops what they refuse.", "0 5 * * 6"),
    Deployment("forget", "flows.forget.forget", "Removes rows for good, and lets none come in again."),
    Deployment(
        "maintain", "flows.maintain.maintain", "Compacts tables, removes what nothing needs.", "0 1 * * 0"
    ),
    Deployment("ablate", "flows.ablate.ablate", "Asks whether each step pays, on a copy of the store."),
    Deployment("report", "flows.report.report", "Writes the report and the catalog.", "0 6 * * *"),
)
AT_ONCE = 1
"""Runs at once: they share one store and the cores of one machine; the others wait their turn."""


STOPS_S = 35.0
"""Prefect gives a flow 30 s to end after SIGTERM, then kills it."""


DAYS = {"*": "daily", "0": "sundays", "6": "saturdays"}


def in_words(cron: str) -> str:
    """A schedule's name: where it has one, its page shows that instead of when it is due."""
    minute, hour, _, _, day = cron.split()
    return f"{DAYS[day]}-at-{int(hour):02d}{int(minute):02d}"


def flow_of(deployment: Deployment) -> Any:
    """Imports the flow."""
    module, _, name = deployment.flow.rpartition(".")
    return getattr(importlib.import_module(module), name)


def deployments(config: Path) -> list[Any]:
    """Prefect's deployments, with this configuration as the default of their parameter `config`."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.flows import EntrypointType

    made = []
    for one in DEPLOYMENTS:
        schedules = []
        if one.cron:
            cron = CronSchedule(cron=one.cron)
            schedules.append(
                DeploymentScheduleCreate(schedule=cron, active=one.active, slug=in_words(one.cron))
            )
        deployment = flow_of(one).to_deployment(
            one.name,
            description=one.about,
            parameters={"config": str(config)},
            schedules=schedules,
            tags=["millrace"],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        made.append(deployment)
    return made


async def serve(made: list[Any], config: Path, ready: int) -> None:
    """Registers the deployments and what starts them by itself, says the id of the one that retrains on a file descriptor, and
    runs what is due until SIGTERM.

    What runs then is cancelled: it gets SIGTERM, too, and half a minute to save.
    """
    from prefect.runner import Runner

    from flows.automate import automate
    from flows.config import read

    asked = asyncio.Event()
    runner = Runner(name="millrace", limit=AT_ONCE, pause_on_shutdown=False)
    ids = {}
    for deployment in made:
        await keep_schedules(deployment)
        ids[deployment.name] = await runner.aadd_deployment(deployment)
    await automate(read(config), ids["retrain"])
    running = asyncio.create_task(runner.start())
    await asyncio.sleep(0)  # its own handler of SIGTERM starts a coroutine and never awaits it
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    os.write(ready, str(ids["retrain"]).encode())
    os.close(ready)
    stopped = asyncio.create_task(asked.wait())
    await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
    if asked.is_set():
        await asyncio.wait((asyncio.create_task(runner.astop()),), timeout=STOPS_S)
        os._exit(0)  # what is left waits for a server that may be gone
    await running


async def keep_schedules(deployment: Any) -> None:
    """What a person has made of a deployment's schedules, switched, changed, added or deleted, stays so when everything is
    started again."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    async with get_client() as client:
        try:
            await client.read_deployment_by_name(deployment.full_name)
        except ObjectNotFound:
            return
    deployment.schedules = []
    deployment.model_fields_set.discard(
        "schedules"
    )  # what is not named stays; an empty list might delete them


def main(config: Path, parent: int, ready: int) -> None:
    """The runner's process."""
    from flows.config import ConfigError

    server.end_with(parent)
    try:
        asyncio.run(serve(deployments(config), config, ready))
    except ConfigError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
