"""What starts by itself: retraining when the corpus has drifted or enough is new, and a run whose process is gone is told so.

Each is made when `millrace up` first meets a server, and then left alone: a person may switch it off or change it in the UI.
One whose deployment or block is gone gets the one that took its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import (
    CallWebhook,
    ChangeFlowRunState,
    RunDeployment,
    SendNotification,
)
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from flows.config import TriggersConfig
from flows.drift import DETECTED
from flows.ingest import COMMITTED

BEAT_S = 30
"""A flow run says so often that it lives (Prefect's least)."""
SILENT_S = 5 * BEAT_S
"""An API that is gone for a minute swallows two beats, and the run lives."""
ENDS = ("Completed", "Failed", "Cancelled", "Crashed")


def wanted(retrain: UUID, triggers: TriggersConfig) -> list[Automation]:
    """The automations, by the id of the deployment that retrains."""
    made = [
        _started("millrace: retrain on drift", DETECTED, retrain, {}),
        Automation(
            name="millrace: tell of runs whose process is gone",
            description="A run that says nothing any more is marked as crashed, not as running for ever.",
            trigger=EventTrigger(
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in ENDS)},
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
        made.append(_started("millrace: retrain when enough is new", COMMITTED, retrain, parameters))
    return made


def _started(name: str, event: str, deployment: UUID, parameters: Mapping[str, Any]) -> Automation:
    return Automation(
        name=name,
        description=f"Starts the deployment retrain on the event {event}.",
        trigger=EventTrigger(expect={event}, posture=Posture.Reactive, threshold=1),
        actions=[
            RunDeployment(source="selected", deployment_id=deployment, parameters=dict(parameters) or None)
        ],
    )


async def ensure(made: list[Automation]) -> list[str]:
    """Creates those that the server does not know by name, and mends those that lead nowhere; the names of both."""
    new = []
    for one in made:
        try:
            known = await Automation.aread(name=one.name)
        except ValueError:
            await one.acreate()
        else:
            if not any([await leads_nowhere(action) for action in known.actions]):
                continue
            known.actions = one.actions
            await known.aupdate()
        new.append(one.name)
    return new


async def leads_nowhere(action: object) -> bool:
    """Whether what an action starts or writes to was deleted."""
    async with get_client() as client:
        try:
            if isinstance(action, RunDeployment) and action.deployment_id:
                await client.read_deployment(action.deployment_id)
            elif isinstance(action, CallWebhook | SendNotification):
                await client.read_block_document(action.block_document_id)
        except ObjectNotFound:
            return True
    return False
