"""The ablate flow: does each step pay? The same small model and the same number of training tokens, on the corpus as it
came, as it was prepared, and with each step left out once, from several seeds; scores on the same held-out rows.

Where the configuration names ways to train ([[ablate.variants]]), those are held against each other instead, on the
corpus as it is.

This is DataComp's experiment (Gadre et al., 2023) at a small size. It works on a copy of the store beside it, so that
nothing of the store itself changes; what is done there is not done again, so it goes on after a kill.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from pydantic import ValidationError

from flows import drawing, ingest
from flows import train as training_flow
from flows.checkpoints import Loaded, load
from flows.config import Config, ConfigError, StepConfig, explain, read
from flows.evaluate import answered, check_any, keep, of_states, parser, scored
from flows.progress import say
from model import train as training
from model.checkpoint import write_file
from model.config import TrainConfig
from model.corpus import load_corpus
from model.evaluate import Score, scores
from model.held_out import held_out_losses
from pipeline.step import digest
from storage.backup import backup
from storage.snapshot import Snapshot
from storage.store import Store

PREPARED, NOISY = "prepared", "as it came"
VARIANTS, PACES = "variants.json", "paces.json"
TURNS = 3
"""Times that a step of each way to train is timed, for its part of a budget."""
STEPS = ("filters", "gathers")
NO_MATTER = {"store", "run", "train", "evaluate", "ablate"}
"""Settings that do not change what a snapshot holds."""


@dataclass(frozen=True)
class Row:
    """A variant of the corpus, and how models did that were trained on it."""

    variant: str
    rows: int
    """Training rows."""
    pictures: int
    """Training pictures."""
    scores: Mapping[str, list[float]]
    """Metric to its value for each seed; `loss_text` is in nats a token, the others are shares."""


def variants(config: Config) -> dict[str, Config]:
    """The corpus as prepared, as it came, and without each filter and gather: settings by name."""

    def without(*left_out: str) -> Config:
        kept: dict[str, tuple[StepConfig, ...]] = {
            kind: tuple(step for step in getattr(config, kind) if step.use not in left_out) for kind in STEPS
        }
        return Config(**{**config.model_dump(), **kept, "sources": ()})

    steps = [step.use for kind in STEPS for step in getattr(config, kind)]
    judged = [use for use in dict.fromkeys(steps) if use not in config.ablate.always]
    return {
        PREPARED: without(),
        NOISY: without(*judged),
        **{f"without {use}": without(use) for use in judged},
    }


def fork(config: Config) -> Path:
    """A copy of the store as its newest snapshot has it, made once."""
    store = config.open_store()
    target = store.path.with_name(f"{store.path.name}.ablate-{Snapshot.open(store).content_hash[:12]}")
    if not target.exists():
        say(f"copying the store to {target}")
        scratch = target.with_name(f"{target.name}.partial")
        shutil.rmtree(scratch, ignore_errors=True)  # a kill left it
        backup(store, scratch).rename(target)
    return target


def snapshots(wanted: Mapping[str, Config], store: Store) -> dict[str, str]:
    """Each variant's snapshot in the copy, by name; made once."""
    path = store.path / VARIANTS
    known: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
    found = {}
    for name, config in wanted.items():
        settings = digest([config.model_dump(mode="json", exclude=NO_MATTER)])
        if known.get(name, {}).get("settings") != settings:
            say(f"[bold]{name}[/]")
            known[name] = {"settings": settings, "snapshot": ingest.run(config).snapshot}
            write_file(path, json.dumps(known, indent=1).encode())
        found[name] = known[name]["snapshot"]
    return found


def ways(config: Config) -> dict[str, Config]:
    """The ways to train, by name.

    Raises:
        ConfigError: two have the same name, or one has a setting that there is not.
    """
    found = {}
    for variant in config.ablate.variants:
        place = f"ablate.variants: {variant.name}"
        if variant.name in found:
            raise ConfigError(f"[{place}] two variants have this name")
        try:
            settings = TrainConfig(**merged(config.train.model_dump(), variant.train))
        except ValidationError as error:
            raise ConfigError(explain(error, TrainConfig, place)) from error
        found[variant.name] = config.model_copy(update={"train": settings})
    return found


def merged(settings: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with some changed, table by table."""
    out = dict(settings)
    for name, value in changes.items():
        known = out.get(name)
        out[name] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return out


def trained(config: Config, store: Store, snapshot: str, seed: int) -> Loaded:
    """The model of one run of `ablate.steps`, which is trained unless it is there already."""
    settings = config.train.model_copy(update={"steps": config.ablate.steps, "seconds": None, "seed": seed})
    config = config.model_copy(update={"train": settings})
    name = training_flow.run_name(config, Snapshot.open(store, snapshot))
    training_flow.run(config, snapshot, name)
    return load(store, name)


MEASURED = f"""
SELECT task, metric || CASE WHEN subset LIKE 'guidance %' THEN ', ' || subset ELSE '' END, value
FROM evaluations WHERE evaluation_id = ? AND (task <> '{drawing.TASK}' OR metric = '{drawing.ALL}')
AND (subset = CASE task WHEN 'caption' THEN 'en' ELSE 'all' END OR subset LIKE 'guidance %')
"""
"""What the table shows of an evaluation."""


def measured(config: Config, store: Store, loaded: Loaded, judged_on: str) -> dict[str, float]:
    """A model's scores on the held-out rows of the snapshot `judged_on`, whatever its own holds: held-out loss, share of
    exact answers of each task, attributes of English captions, classes, retrieval."""
    settings, loaded = config.evaluate.model_dump(mode="json"), replace(loaded, snapshot=judged_on)
    snapshot = Snapshot.open(store, judged_on)
    evaluation = digest(["ablate 4", loaded.id, snapshot.content_hash, settings])[:12]
    if not store.has("evaluations", evaluation):
        parse = parser(config)
        _, _, answers = answered(store, config, loaded, parse)
        found = of_states(store, config, loaded) + drawing.scores(store, config, loaded, parse)
        if config.train.batch.rows:
            corpus = load_corpus(store, snapshot, config.evaluate.split)
            losses = held_out_losses(loaded.model, corpus, config.train.batch)
            found += [
                Score("all", f"loss_{name}", "all", value, value, value, 0) for name, value in losses.items()
            ]
        found += scores(answers, parse and scored(parse))
        check_any(found, loaded, config)
        keep(store, evaluation, loaded, found, answers)
    with store.connect() as db:
        rows = db.execute(MEASURED, [evaluation]).fetchall()
    return {
        metric if metric.startswith("loss_") else f"{task} {metric}": value
        for task, metric, value in sorted(rows)
    }


def size_of(store: Store, snapshot: str) -> tuple[int, int]:
    """Training rows and training pictures of a snapshot."""
    with Snapshot.open(store, snapshot).connect() as db:
        [found] = db.sql(
            "SELECT count(*), count(DISTINCT image_id) FROM members JOIN samples USING (sample_id) "
            "WHERE split = 'train'"
        ).fetchall()
    return int(found[0]), int(found[1])


def run(config: Config) -> list[Row]:
    """Every variant from every seed; one seed of all variants before the next, so that a look half-way is a fair one."""
    target = fork(config)
    config = config.model_copy(
        update={"store": config.store.model_copy(update={"path": str(target), "tables": ""})}
    )
    store = config.open_store()
    if config.ablate.variants:
        return run_ways(config, store, target)
    made = snapshots(variants(config), store)
    if config.ablate.seconds:  # one number of steps for all: a step costs the same whatever the corpus
        config = affordable({PREPARED: config}, store, made[PREPARED], config.ablate.seconds)[PREPARED]
    distinct = dict.fromkeys(made.values())
    found: dict[str, list[dict[str, float]]] = {name: [] for name in distinct}
    total = len(distinct) * config.ablate.seeds
    for seed in range(config.ablate.seeds):
        for snapshot in distinct:
            names = ", ".join(name for name in made if made[name] == snapshot)
            say(f"run {sum(map(len, found.values())) + 1} of {total}: {names}, seed {seed}")
            model = trained(config, store, snapshot, seed)
            found[snapshot].append(measured(config, store, model, made[PREPARED]))
            write_file(target / "ablation.md", markdown(table(store, made, found)).encode())
    return table(store, made, found)


def run_ways(config: Config, store: Store, target: Path) -> list[Row]:
    """Every way to train from every seed, on the newest snapshot."""
    wanted, snapshot = ways(config), Snapshot.open(store).name
    if config.ablate.seconds:
        wanted = affordable(wanted, store, snapshot, config.ablate.seconds)
    size, found = size_of(store, snapshot), {name: list[dict[str, float]]() for name in wanted}
    for seed in range(config.ablate.seeds):
        for number, (name, way) in enumerate(wanted.items(), 1 + seed * len(wanted)):
            say(f"run {number} of {len(wanted) * config.ablate.seeds}: {name}, seed {seed}")
            found[name].append(measured(config, store, trained(way, store, snapshot, seed), snapshot))
            rows = [Row(one, *size, by_metric(runs)) for one, runs in found.items()]
            write_file(target / "ablation.md", markdown(rows).encode())
    return rows


def affordable(
    wanted: Mapping[str, Config], store: Store, snapshot: str, seconds: float
) -> dict[str, Config]:
    """The ways to train with the steps that each can make in a time, were the machine left alone.

    A step is timed in turns, each way beside the others, and the fastest turn counts: what else the machine does meanwhile,
    or later, takes no step away from a way that happened to run then. Noted, so that a resumed queue has the same steps.
    """
    path, pinned = store.path / PACES, Snapshot.open(store, snapshot)
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    keys = {
        name: digest([way.train.model_dump(mode="json", exclude={"seed"}), pinned.content_hash])
        for name, way in wanted.items()
    }
    if lacking := [name for name in wanted if keys[name] not in known]:
        for turn in range(TURNS):
            say(f"timing a step of each variant, {turn + 1} of {TURNS}")
            for name in lacking:
                took = training.pace(store, pinned, wanted[name].train)
                known[keys[name]] = min(took, known.get(keys[name], took))
        write_file(path, json.dumps(known, indent=1).encode())
    steps = {name: max(1, int(seconds / known[key])) for name, key in keys.items()}
    say(", ".join(f"{name}: {n:,} steps" for name, n in steps.items()))
    return {
        name: way.model_copy(update={"ablate": way.ablate.model_copy(update={"steps": steps[name]})})
        for name, way in wanted.items()
    }


def by_metric(runs: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Each metric's value for each seed."""
    names = dict.fromkeys(metric for run in runs for metric in run)
    return {metric: [run[metric] for run in runs if metric in run] for metric in names}


def table(
    store: Store, made: Mapping[str, str], found: Mapping[str, Sequence[Mapping[str, float]]]
) -> list[Row]:
    """A row for each variant, with what is known so far."""
    rows = []
    for name, snapshot in made.items():
        rows.append(Row(name, *size_of(store, snapshot), by_metric(found[snapshot])))
    return rows


def flat(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The table for a person: mean ± standard deviation over the seeds; every row has the columns of all."""
    metrics, out = sorted({metric for row in rows for metric in row.scores}), []
    for row in rows:
        shown: dict[str, Any] = {"variant": row.variant, "rows": row.rows, "pictures": row.pictures}
        for metric in metrics:
            values = row.scores.get(metric, [])
            spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
            shown[metric] = f"{mean(values):.3f}{spread}" if values else ""
        out.append(shown)
    return out


def markdown(rows: Sequence[Row]) -> str:
    """The same as a table of Markdown."""
    shown = flat(rows)
    names = list(dict.fromkeys(name for row in shown for name in row))
    lines = [names, ["---"] * len(names), *([str(row.get(name, "")) for name in names] for row in shown)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


@flow(name="ablate")
def ablate(config: str = "millrace.toml") -> dict[str, Any]:
    """Asks whether each step pays: trains on the corpus as it came, as prepared, and without each step; or in each of
    the ways that [[ablate.variants]] names.

    Args:
        config: The TOML file that says what to do; [ablate] says how long and how often.
    """
    settings = read(Path(config))
    rows = run(settings)
    create_table_artifact(key="ablation", table=flat(rows), description="Mean ± deviation over the seeds")
    return {"rows": [asdict(row) for row in rows], "table": flat(rows)}


def start(config_path: str) -> dict[str, Any]:
    """Runs the flow here."""
    return ablate(config=config_path)
