"""The task that workers run. It lies apart from the flows: what a worker imports, each of them waits for."""

from __future__ import annotations

from collections.abc import Callable

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline.stage import Job
from storage.store import Store


@task(name="work", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False)
def work(
    function: Callable[[Store, Job], str], store: str, memory_limit: str, jobs: list[Job], label: str
) -> list[str]:
    """Makes some parts of a stage; carries names and keys, never tables or pictures."""
    opened = Store.open(store, memory_limit=memory_limit)
    return [function(opened, job) for job in jobs]
