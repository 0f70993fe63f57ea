"""The ingest flow: collect → annotate → filter → gather → split → tokenize → snapshot.

Where annotations need a filtering network and there is none yet, it is fitted after all that needs no model.

Every stage skips what is committed, so running it again after a kill, or for one more shard, costs what is
missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from rich.markup import escape

from flows import artifacts, filtering_network, models, tokenizers
from flows.config import Config, RunConfig, read
from flows.models import Chain
from flows.progress import bar, say
from flows.runners import FEW, Workers
from pipeline import decoders, splits, stage, upstream
from pipeline.collect import Origin, forget_former
from pipeline.errors import SourceError
from pipeline.stage import Job
from pipeline.step import Annotator, digest
from pipeline.web import intake
from pipeline.web.source import WebSource
from storage import catalog, parts, snapshot
from storage.beginning import begun
from storage.errors import SnapshotIncomplete
from storage.store import Store

COMMIT_PARTS = 8
"""Staged parts per Delta commit: each costs a log entry, and a kill loses none of them."""
EACH = 4
"""Tasks of a stage for each worker: one that is late holds the others up by its own length, and Prefect takes 20 ms of CPU
time for each, most of it in its API."""
COMMITTED = "millrace.snapshot.committed"
"""The event that tells of a new snapshot."""


@dataclass(frozen=True)
class Site:
    """Where an ingest works: its store, its settings, and who does the tasks."""

    store: Store
    config: Config
    workers: Workers
    stages: artifacts.Stages = field(default_factory=artifacts.Unseen)


def mill(
    site: Site, label: str, jobs: Sequence[Job], function: Callable[..., str], alone: bool = False
) -> int:
    """Runs a stage's jobs on the task runner and commits their parts as they come in; `alone`: see `Workers.of`."""
    if not jobs:
        return 0
    store = site.store
    tasks = site.config.run.workers * (EACH if len(jobs) > FEW else 1)
    size = max(1, -(-len(jobs) // tasks))
    chunks = [list(jobs[i : i + size]) for i in range(0, len(jobs), size)]
    with bar(label, len(jobs), "parts") as shown, site.workers.of(len(jobs), alone) as runner:
        ready: list[str] = []
        for keys in runner.each(function, store, chunks, label):
            ready += keys
            if len(ready) >= COMMIT_PARTS:
                parts.commit(store, ready)
                shown.advance(len(ready))
                ready = []
        if ready:
            parts.commit(store, ready)
            shown.advance(len(ready))
    return len(jobs)


def harvest(site: Site, origin: Origin) -> int:
    """Takes what is new from a web source: one fetcher for all its shards, since a host is one host to be polite to."""

    @task(name="harvest", task_run_name=f"harvest {origin.name}", cache_policy=NO_CACHE, persist_result=False)
    def walk() -> intake.Taken:
        with bar(f"harvest {origin.name}", None, "URLs", quiet=True) as shown:
            done = intake.run(site.store, origin, site.config.media, site.config.fetch, shown.update)
            shown.update(done.urls, total=done.urls)
        return done

    taken = walk()
    if not taken.complete:
        say(f"{origin.name}: the time for it was over; the next run goes on where it stopped")
    return taken.parts


@dataclass(frozen=True)
class Ingested:
    """What an ingest did."""

    store: Store
    snapshot: str
    parts_made: int
    new_rows: int
    kept: int
    came_in: int


def collect(site: Site) -> tuple[int, dict[str, str]]:
    """Reads every source's new shards; parts made, and what went wrong with sources of the web.

    A library that is down keeps nobody else from being read; a folder that is not there is a mistake to tell at once.
    """
    made, failed, config = 0, {}, site.config
    for name, origin in site.stages.of(config.origins.items()):
        if isinstance(origin.source, WebSource):
            try:
                made += harvest(site, origin)
            except SourceError as error:
                failed[name] = str(error)
                say(f"[red]{name}: {escape(str(error))}[/]; going on with the others")
            continue
        try:
            made += listed(site, name, origin)
        except SourceError as error:
            raise SourceError(f"source {name}: {error}") from error
    return made, failed


def listed(site: Site, name: str, origin: Origin) -> int:
    """Reads the shards of a source that lists them; parts made."""
    store, config = site.store, site.config
    assert not isinstance(origin.source, WebSource)
    state = origin.source.state()
    if stage.unchanged(store, origin, config.media, state):
        return 0
    decoders.prepare()  # while it is listed
    site.workers.warm()
    jobs = stage.plan_collect(store, origin, config.media)
    function = partial(stage.work_collect, limits=config.media, memory=config.fetch.decoder_memory)
    made = mill(site, f"collect {name}", jobs, function, alone=len(jobs) == 1)
    forget_former(store, name)
    stage.listed(store, origin, config.media, state)
    return made


def learn(site: Site, chain: Chain) -> int:
    """Does all that hangs on no model; where no filtering network is fitted yet, decides by it which rows train one."""
    plain = chain.plain()
    made = annotate(site, plain.annotators, {})
    return made if filtering_network.fitted(site.store) else made + decide(site, plain, {})


def annotate(site: Site, annotators: Sequence[Annotator], needed: Mapping[str, Any]) -> int:
    """Adds every annotator's columns to the rows that lack them; `needed` are models by name."""
    made, ids = 0, {name: model.id for name, model in needed.items()}
    prints = upstream.fingerprints(annotators, ids)
    for annotator in site.stages.of(upstream.ordered(annotators)):
        jobs = stage.plan_annotate(site.store, annotator, ids, prints[annotator.table()])
        given = {name: needed[name] for name in annotator.needs}
        function = partial(stage.work_annotate, annotator=annotator, models=given)
        made += mill(site, f"annotate {annotator.name()}", jobs, function, alone=bool(annotator.needs))
    return made


def decide(site: Site, chain: Chain, needed: Mapping[str, Any]) -> int:
    """Filters part by part, asks each gather's question of the whole corpus, and gives kept rows a split."""
    store, config, ids = site.store, site.config, {name: model.id for name, model in needed.items()}
    policy = stage.filter_policy(chain.filters, chain.annotators, config.media, ids)
    jobs = stage.plan_filter(store, policy)
    function = partial(stage.work_filter, filters=chain.filters, policy=policy)
    made = mill(site, "filter", jobs, function)
    site.stages.advance()
    policies, held, prints = [], held_out(store), upstream.fingerprints(chain.annotators, ids)
    stage.retire(store, [splits.STAGE, *(gather.name() for gather in config.gather_steps)])
    for gather in chain.gathers:
        before = digest([policy, held]) if gather.guards and held else policy
        read = [prints[table] for table in gather.tables() if table in prints]
        policy = stage.gather_policy(gather, before, read)
        stage.renew(store, gather, policy)
        policies.append((gather, policy, read))
    for gather, policy, read in site.stages.of(policies):
        question = partial(stage.run_gather, store, gather, policy, read)
        made += told(f"gather {gather.name()}", question) > 0
    return made + (told("split", partial(splits.assign_all, store, config.splits)) > 0)


def held_out(store: Store) -> str:
    """A mark of which rows are held out: training rows that were clean may be among those that came since."""
    with store.over("samples") as db:
        db.execute("CREATE TEMP TABLE held AS SELECT sample_id FROM samples WHERE held_out")
        rows, mark = stage.counted(db, "held")
    return mark if rows else ""


def told(label: str, question: Callable[[], int]) -> int:
    """Asks a question of the whole corpus under a bar, and returns how many rows it concerned."""
    with bar(label, None, "rows", quiet=True) as shown:
        rows = question()
        shown.update(rows, total=rows)
    return rows


def run(config: Config, workers: Callable[[RunConfig], Workers] = Workers) -> Ingested:
    """The whole ingest, inside a flow run; a first one that fails before anything came in leaves no store behind."""
    with begun(config.store.path, config.run.memory_limit, config.store.tables) as store:
        return brought_in(store, config, workers)


def brought_in(store: Store, config: Config, hired: Callable[[RunConfig], Workers]) -> Ingested:
    """What is new of every source, decided on and in a snapshot."""
    before = store.version("samples")
    parts.commit(store, parts.waiting(store))  # what a kill left staged
    with hired(config.run) as workers:
        site = Site(
            store, config, workers, artifacts.Stages("ingest", stages(config), "Stages of the ingest")
        )
        chain, needed = Chain.of(config), models.early(store, config)
        made, failed = collect(site)
        told_off = "; ".join(f"{name}: {why}" for name, why in failed.items())
        if filtering_network.wanted(config):
            made += learn(site, chain)
            needed |= {models.IMAGE_TEXT: filtering_network.ready(store, config)}
        made += annotate(site, chain.annotators, needed)
        made += decide(site, chain, needed)
        came_in, kept = funnel_totals(store)
        if not kept and failed:
            raise SourceError(told_off)
        if not came_in:
            raise SnapshotIncomplete(
                "nothing came in: no source holds a picture or a text; look at their paths"
            )
        if not kept:
            raise SnapshotIncomplete("no row was kept: `millrace stats` shows what came in and where it went")
        fitted = tokenizers.ready(store, config)
        made += annotate(site, tokenizers.appliers(), fitted)
    name = snapshot.create(
        store,
        text_tokenizer=fitted["text_tokenizer"].id,
        image_tokenizer=fitted["image_tokenizer"].id,
        licences=config.licences.allow,
        allow_contaminated=config.decontaminate.allow,
        remedy=config.decontaminating(),
    ).name
    if failed:
        raise SourceError(f"{told_off}; what the other sources brought is in snapshot {name}")
    site.stages.end()
    return Ingested(store, name, made, store.version("samples") - before, kept, came_in)


def stages(config: Config) -> int:
    """So many stages has an ingest: sources, annotators, the filters as one, gathers, and both tokenizers."""
    return len(config.sources) + len(config.annotators) + 1 + len(config.gathers) + len(tokenizers.appliers())


def funnel_totals(store: Store) -> tuple[int, int]:
    """(rows that came in, rows kept)."""
    with store.connect() as db:
        row = db.execute("SELECT count(*), count(*) FILTER (WHERE kept) FROM verdicts").fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


@flow(name="ingest", validate_parameters=True)
def ingest(config: str = "millrace.toml", allow_contaminated: bool = False) -> dict[str, Any]:
    """Brings in what is new from every source, decides what stays, and commits a snapshot.

    Args:
        config: The TOML file that says what to do.
        allow_contaminated: Make a snapshot even where training rows are held-out ones.
    """
    settings = read(Path(config)).allowing(allow_contaminated)
    done = run(settings)
    artifacts.funnel(done.store, done.snapshot, done.kept, done.came_in)
    catalog.refresh(done.store)
    if done.parts_made:
        emit_event(
            event=COMMITTED,
            resource={"prefect.resource.id": f"millrace.snapshot.{done.snapshot}"},
            payload={"came_in": done.came_in, "kept": done.kept},
        )
    news = "" if done.parts_made else "nothing new; "
    say(f"{news}snapshot {done.snapshot}: {done.kept:,} of {done.came_in:,} rows kept")
    return {
        "snapshot": done.snapshot,
        "came_in": done.came_in,
        "kept": done.kept,
        "parts_made": done.parts_made,
    }


def start(config_path: str, allow_contaminated: bool = False) -> dict[str, Any]:
    """Runs the flow here."""
    return ingest(config=config_path, allow_contaminated=allow_contaminated)
