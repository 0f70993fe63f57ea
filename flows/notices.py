"""Who is told when a run failed, crashed, is late or waits for a person: automations that write to a block of Prefect.

The block is one that a person made in the UI (Slack, e-mail, a webhook …), or one made here of a URL in the environment. The
secret lies in that block, encrypted, and nowhere else.
"""

from __future__ import annotations

import os
from uuid import UUID

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.types import SecretDict
from pydantic import SecretStr

from flows.automations import OURS
from flows.config import ConfigError
from flows.settings import NotifyConfig

BLOCK = "millrace-notify"
TOLD = {
    "failed": ("Failed", "Crashed", "TimedOut"),
    "late": ("Late",),
    "waiting for a person": ("Paused",),
}
"""What is told, and the names of the states behind it."""
PART_TOO = ("waiting for a person",)
"""A flow that another one called fails with it, and once is enough; but the form is at the page of the part that asks."""
OF_DEPLOYMENTS = {"prefect.resource.id": ["prefect.deployment.*"], "prefect.resource.role": ["deployment"]}
SUBJECT = "Millrace: {{ flow.name }} is {{ flow_run.state.name | lower }}"
BODY = (
    "{{ flow.name }}, run {{ flow_run.name }}: {{ flow_run.state.name }}. "
    "{{ (flow_run.state.message or '') | truncate(300) }} {{ flow_run | ui_url }}"
)
PAYLOAD = (
    "{% set text %}" + BODY + "{% endset %}"
    '{"text": {{ text | tojson }}, "flow": {{ flow.name | tojson }}, "flow_run": {{ flow_run.name | tojson }}, '
    '"state": {{ flow_run.state.name | tojson }}, "url": {{ flow_run | ui_url | tojson }}}'
)
"""`text` is what chat services show."""


async def wanted(settings: NotifyConfig) -> list[Automation]:
    """The automations that tell whom the configuration names.

    Raises:
        ConfigError: no such block.
    """
    made = []
    if settings.url_env:
        made += _telling(
            "to " + settings.url_env,
            CallWebhook(block_document_id=await kept(settings.url_env), payload=PAYLOAD),
        )
    if settings.block:
        kind, _, name = settings.block.partition("/")
        block = await found(kind, name)
        if kind == Webhook.get_block_type_slug():
            made += _telling("by " + settings.block, CallWebhook(block_document_id=block, payload=PAYLOAD))
        else:
            action = SendNotification(block_document_id=block, subject=SUBJECT, body=BODY)
            made += _telling("by " + settings.block, action)
    return made


def _telling(how: str, action: CallWebhook | SendNotification) -> list[Automation]:
    return [
        Automation(
            name=f"{OURS[1]}{what}, {how}",
            description=f"Tells when a run is {what}.",
            trigger=EventTrigger(
                expect={f"prefect.flow-run.{state}" for state in states},
                match={"prefect.resource.id": ["prefect.flow-run.*"]},
                match_related={} if what in PART_TOO else OF_DEPLOYMENTS,
                for_each={"prefect.resource.id"},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[action],
        )
        for what, states in TOLD.items()
    ]


async def kept(variable: str) -> UUID:
    """A block with the URL of that environment variable, renewed at each start."""
    block = Webhook(
        method="POST",
        url=SecretStr(os.environ[variable]),
        headers=SecretDict({"Content-Type": "application/json"}),
    )
    return await block.asave(BLOCK, overwrite=True)


async def found(kind: str, name: str) -> UUID:
    """A block that a person made.

    Raises:
        ConfigError: there is none of that type and name.
    """
    async with get_client() as client:
        try:
            return (await client.read_block_document_by_name(name, kind)).id
        except ObjectNotFound as error:
            raise ConfigError(
                f'[notify] block = "{kind}/{name}": no such block; make it in the UI under Blocks, and start again'
            ) from error
