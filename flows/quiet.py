"""What a command does before Prefect starts."""

from __future__ import annotations

import os
from pathlib import Path


def quiet_prefect(home: Path) -> None:
    """Prefect keeps its files beside the project, phones nobody, and leaves the terminal to the progress bars."""
    defaults = {
        "PREFECT_HOME": str((home / ".prefect").resolve()),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # it shows a traceback for any mistake
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # a run says that it lives: see flows.automations
        # waits double: four minutes and more without an API, or with one whose database is gone, are survived
        "PREFECT_CLIENT_MAX_RETRIES": "8",
        "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # what Prefect's API says while a Postgres refuses it
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def checked(config: Path, *, store: bool = False, sources: bool = False) -> None:
    """Finds mistakes in the configuration, and what is not there, before Prefect starts, which takes a while."""
    from flows.config import read

    settings = read(config)
    if store:
        settings.open_store()
    if sources:
        settings.check_sources()
        if settings.run.runner == "ray":
            from flows import cluster

            cluster.check(settings.run.address)
    quiet_prefect(Path())
