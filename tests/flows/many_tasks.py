"""A flow of many small tasks, submitted as an ingest submits its own: `python many_tasks.py STORE COUNT`."""

from __future__ import annotations

import sys
from typing import Any

from prefect import flow

from flows.config import RunConfig
from flows.runners import Workers
from pipeline.stage import Job
from storage.store import Store


def named(store: Store, job: Job) -> str:
    return job.key


@flow(name="many")
def many(path: str, count: int) -> int:
    store = Store.open(path)
    chunks: list[Any] = [[Job(str(number))] for number in range(count)]
    with Workers(RunConfig(workers=4)) as workers, workers.of(count) as runner:
        return len({key for keys in runner.each(named, store, chunks, "many") for key in keys})


if __name__ == "__main__":
    print(many(sys.argv[1], int(sys.argv[2])))
