"""Which Prefect task runner spreads a flow's tasks: threads or processes of this machine."""

from __future__ import annotations

from typing import Any

from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from flows.config import RunConfig


def task_runner(run: RunConfig) -> Any:
    """A runner with `run.workers` workers."""
    if run.runner == "processes":
        return ProcessPoolTaskRunner(max_workers=run.workers)
    return ThreadPoolTaskRunner(max_workers=run.workers)
