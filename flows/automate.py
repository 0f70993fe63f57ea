"""What starts by itself, and who is told: made by `millrace up`, or for the deployments of a work pool by

python -m flows.automate millrace.toml
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from flows import automations, notices
from flows.config import Config, ConfigError, read
from flows.mail import MailServer
from flows.mistakes import message, user_errors


async def automate(config: Config, retrain: UUID) -> list[str]:
    """Has the automations that the configuration asks for, and no others of ours; those that were made or mended.

    Raises:
        ConfigError: a block that it names is not there.
    """
    await MailServer.register_type_and_schema()  # there is a form for one in the UI, then
    told = await notices.wanted(config.notify)
    made = await automations.ensure([*automations.wanted(retrain, config.triggers), *told])
    await automations.ask_for_life()
    return made


async def of_a_pool(config: Config) -> list[str]:
    """The same, for deployments that are there.

    Raises:
        ConfigError: they are not.
    """
    async with get_client() as client:
        try:
            retrain = await client.read_deployment_by_name("retrain/retrain")
        except ObjectNotFound as error:
            raise ConfigError("no deployment retrain yet: `prefect deploy --all` first") from error
    return await automate(config, retrain.id)


if __name__ == "__main__":
    try:
        print("\n".join(asyncio.run(of_a_pool(read(Path(sys.argv[1]))))))
    except user_errors() as error:
        sys.exit(f"error: {message(error)}")
