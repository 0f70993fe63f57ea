"""The ingest flow: collect → annotate → filter → gather → split → tokenize → snapshot.

Every stage skips what is committed, so running it again after a kill, or with one more shard, costs what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.futures import as_completed

from flows import tokenizers
from flows.config import Config, read
from flows.progress import bar, say
from flows.runners import task_runner
from pipeline import splits, stage
from pipeline.collect import Origin
from pipeline.stage import Job
from pipeline.step import Annotator
from storage import parts, snapshot
from storage.store import Store

COMMIT_PARTS = 8
"""Staged parts per Delta commit: each costs a log entry, and a kill loses none of them."""


@task(name="work", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False)
def work(function: Callable[[Store, Job], str], store: str, jobs: list[Job], label: str) -> list[str]:
    """Makes some parts of a stage; carries names and keys, never tables or pictures."""
    opened = Store.open(store)
    return [function(opened, job) for job in jobs]


def mill(store: Store, config: Config, label: str, jobs: Sequence[Job], function: Callable[..., str]) -> int:
    """Runs a stage's jobs on the task runner and commits their parts as they come in."""
    if not jobs:
        return 0
    size = max(1, -(-len(jobs) // (config.run.workers * 8)))
    chunks = [list(jobs[i : i + size]) for i in range(0, len(jobs), size)]
    with bar(label, len(jobs), "parts") as shown:
        futures = [
            work.submit(function, str(store.path), chunk, f"{label} {i + 1}/{len(chunks)}")
            for i, chunk in enumerate(chunks)
        ]
        ready: list[str] = []
        for future in as_completed(futures):
            ready += future.result()
            if len(ready) >= COMMIT_PARTS:
                parts.commit(store, ready)
                shown.advance(len(ready))
                ready = []
        if ready:
            parts.commit(store, ready)
            shown.advance(len(ready))
    return len(jobs)


@dataclass(frozen=True)
class Ingested:
    """What an ingest did."""

    snapshot: str
    parts_made: int
    new_rows: int
    kept: int
    came_in: int


def collect(store: Store, config: Config) -> int:
    """Reads every source's new shards."""
    made = 0
    for settings in config.sources:
        origin = Origin(settings.name, config.source_steps[settings.name], settings.held_out)
        jobs = stage.plan_collect(store, origin, config.media)
        made += mill(
            store, config, f"collect {settings.name}", jobs, partial(stage.work_collect, limits=config.media)
        )
    return made


def annotate(
    store: Store, config: Config, annotators: Sequence[Annotator], models: Mapping[str, Any]
) -> int:
    """Adds every annotator's columns to the rows that lack them."""
    made, ids = 0, {name: model.id for name, model in models.items()}
    for annotator in annotators:
        jobs = stage.plan_annotate(store, annotator, ids)
        given = {name: models[name] for name in annotator.needs}
        function = partial(stage.work_annotate, annotator=annotator, models=given)
        made += mill(store, config, f"annotate {annotator.name()}", jobs, function)
    return made


def decide(store: Store, config: Config) -> int:
    """Filters part by part, then asks each gather's question of the whole corpus."""
    policy = stage.filter_policy(config.filter_steps, config.annotator_steps, config.media)
    jobs = stage.plan_filter(store, policy)
    made = mill(
        store,
        config,
        "filter",
        jobs,
        partial(stage.work_filter, filters=config.filter_steps, policy=policy),
    )
    for gather in config.gather_steps:
        policy = stage.gather_policy(gather, policy)
        made += stage.run_gather(store, gather, policy) > 0
    return made


def run(config: Config) -> Ingested:
    """The whole ingest, inside a flow run."""
    store = Store.open(config.store.path)
    before = store.version("samples")
    parts.commit(store, parts.waiting(store))  # what a kill left staged
    made = collect(store, config)
    made += annotate(store, config, config.annotator_steps, {})
    made += decide(store, config)
    made += splits.assign_all(store, config.splits)
    models = tokenizers.ready(store, config)
    made += annotate(store, config, tokenizers.appliers(), models)
    name = snapshot.create(
        store,
        text_tokenizer=models["text_tokenizer"].id,
        image_tokenizer=models["image_tokenizer"].id,
        licences=config.licences.allow,
    ).name
    came_in, kept = funnel_totals(store)
    return Ingested(name, made, store.version("samples") - before, kept, came_in)


def funnel_totals(store: Store) -> tuple[int, int]:
    """(rows that came in, rows kept)."""
    with store.connect() as db:
        row = db.execute("SELECT count(*), count(*) FILTER (WHERE kept) FROM verdicts").fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


@flow(name="ingest", validate_parameters=True)
def ingest(config: str = "millrace.toml") -> dict[str, Any]:
    """Brings in what is new from every source, decides what stays, and commits a snapshot."""
    settings = read(Path(config))
    done = run(settings)
    store = Store.open(settings.store.path)
    with store.connect() as db:
        rows = db.sql("SELECT * FROM funnel").to_arrow_table().to_pylist()
    create_table_artifact(key="funnel", table=rows, description=f"Snapshot {done.snapshot}")
    if done.parts_made:
        emit_event(
            event="millrace.snapshot.committed",
            resource={"prefect.resource.id": f"millrace.snapshot.{done.snapshot}"},
            payload={"came_in": done.came_in, "kept": done.kept},
        )
    say(f"snapshot {done.snapshot}: {done.kept:,} of {done.came_in:,} rows kept")
    return {"snapshot": done.snapshot, "came_in": done.came_in, "kept": done.kept, "parts_made": done.parts_made}


def start(config_path: str) -> dict[str, Any]:
    """Runs the flow here with the runner that its configuration names."""
    settings = read(Path(config_path))
    return ingest.with_options(task_runner=task_runner(settings.run))(config=config_path)
