"""What starts by itself: retraining when the corpus has drifted or enough is new, and a run whose process is gone is told so.

Each is made when `millrace up` first meets a server, and then left alone: a person may switch it off or change it in the UI.
One whose deployment or block is gone gets the one that took its place. Its name holds what the configuration says of it: one
that says something else makes another, and the former goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.events import emit_event
from prefect.events.actions import (
    CallWebhook,
    ChangeFlowRunState,
    RunDeployment,
    SendNotification,
)
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from flows.config import TriggersConfig
from flows.drift import DETECTED
from flows.ingest import COMMITTED

BEAT = "prefect.flow-run.heartbeat"
BEAT_S = 30
"""A flow run says so often that it lives (Prefect's least)."""
SILENT_S = 5 * BEAT_S
"""An API that is gone for a minute swallows two beats, and the run lives."""
ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
OURS = ("millrace: retrain ", "millrace: tell of runs ")
"""How the names of all begin that were ever made here; others are a person's own."""


def wanted(retrain: UUID, triggers: TriggersConfig) -> list[Automation]:
    """The automations, by the id of the deployment that retrains."""
    made = [
        _started("on drift", DETECTED, retrain, {}),
        Automation(
            name=f"{OURS[1]}whose process is gone",
            description="A run that says nothing any more is marked as crashed, not as running for ever.",
            trigger=EventTrigger(
                after={BEAT},
                expect={BEAT, *(f"prefect.flow-run.{end}" for end in ENDS)},
                match={"prefect.resource.id": ["prefect.flow-run.*"]},
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=timedelta(seconds=SILENT_S),
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED,
                    message="No sign of life: its process is gone. Start it again; it goes on.",
                )
            ],
        ),
    ]
    if triggers.retrain_when_new:
        parameters = {"least_new": triggers.retrain_when_new}
        made.append(
            _started(f"when {triggers.retrain_when_new:,} rows are new", COMMITTED, retrain, parameters)
        )
    return made


def _started(when: str, event: str, deployment: UUID, parameters: Mapping[str, Any]) -> Automation:
    return Automation(
        name=OURS[0] + when,
        description=f"Starts the deployment retrain on the event {event}.",
        trigger=EventTrigger(expect={event}, posture=Posture.Reactive, threshold=1),
        actions=[
            RunDeployment(source="selected", deployment_id=deployment, parameters=dict(parameters) or None)
        ],
    )


async def ensure(made: list[Automation]) -> list[str]:
    """Creates those that the server does not know by name, mends those that lead nowhere, and deletes those that an earlier
    configuration asked for; the names of what was created or mended."""
    new = []
    async with get_client() as client:
        known = {one.name: one for one in await client.read_automations()}
        for one in made:
            before = known.pop(one.name, None)
            if before is None:
                await client.create_automation(AutomationCore(**one.model_dump(exclude={"id"})))
            elif any([await leads_nowhere(client, action) for action in before.actions]):
                kept = before.model_dump(exclude={"id", "owner_resource", "actions"})
                await client.update_automation(before.id, AutomationCore(**kept, actions=one.actions))
            else:
                continue
            new.append(one.name)
        for name, former in known.items():
            if name.startswith(OURS):
                await client.delete_automation(former.id)
    return new


async def ask_for_life() -> None:
    """Beats in the name of all runs that are said to be on, and whoever lives beats again: a run may have ended while no server
    that heeds it was there, and its last beat with it."""
    on = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
    async with get_client() as client:
        runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=on)))
    for run in runs:
        emit_event(
            event=BEAT,
            resource={"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name},
        )


async def leads_nowhere(client: PrefectClient, action: object) -> bool:
    """Whether what an action starts or writes to was deleted."""
    try:
        if isinstance(action, RunDeployment) and action.deployment_id:
            await client.read_deployment(action.deployment_id)
        elif isinstance(action, CallWebhook | SendNotification):
            await client.read_block_document(action.block_document_id)
    except ObjectNotFound:
        return True
    return False
