"""`millrace lineage`: which rows a checkpoint was trained on, and what became of a row."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from pyarrow import csv
from pydantic import ValidationError

from flows.mistakes import guarded
from flows.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from flows.printing import print_rows, show
from model.config import TrainConfig
from storage import lineage
from storage.store import Store

app = typer.Typer(
    help="Says which rows a checkpoint was trained on, and what became of a row.\n\n"
    "Examples: millrace lineage checkpoint latest --json\n\n          millrace lineage sample 0f3a9c",
    no_args_is_help=True,
)
ROWS = ("sample_id", "split", "times_seen", "source", "origin", "licence", "author", "image_id")


def checkpoint(
    name: Annotated[
        str, typer.Argument(help="Id of a checkpoint (or its beginning) or of a run, latest or champion.")
    ],
    rows: Annotated[
        bool, typer.Option("--rows", help="Every row of its snapshot, as CSV (with --json in the document).")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the rows; standard output if left out.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Shows a checkpoint's snapshot, settings and code, and its rows by source, licence and split: how many, how often seen.

    Example: millrace lineage checkpoint latest --rows -o rows.csv
    """
    store = opened(config)
    found = lineage.find(store, name)["checkpoint_id"]
    listed = lineage.checkpoint(store, found).select(ROWS) if rows or output else None
    if listed is not None and not as_json:
        written(listed, output)
        return
    told: dict[str, Any] = {"checkpoint": about(store, found), "counts": lineage.counts(store, found)}
    if listed is not None:
        if output:
            written(listed, output)
        else:
            told["rows"] = listed.to_pylist()
    if as_json:
        show(told, True)
        return
    print_checkpoint(**told)


def sample(
    name: Annotated[str, typer.Argument(help="Id of a sample, or its beginning.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Shows a row with its decisions, the snapshots that hold it, the training steps and the checkpoints that saw it.

    Example: millrace lineage sample 0f3a9c7be21d4f55a0c1b2d3e4f56071
    """
    told = lineage.sample(opened(config), name)
    if as_json:
        show(told, True)
        return
    print_sample(told)


def opened(config: Path) -> Store:
    from flows.config import read

    return read(config).open_store()


def about(store: Store, checkpoint_id: str) -> dict[str, Any]:
    """What is known of a checkpoint, its settings taken apart, and whether its weights are still there."""
    told = lineage.about(store, checkpoint_id)
    settings = told.pop("config")
    there = bool(told["path"]) and (store.path / told["path"]).is_dir()
    return {**told, "weights": there, "config": json.loads(settings) if settings else None}


def written(rows: pa.Table, output: Path | None) -> None:
    """Writes rows as CSV: to standard output, or as a file that is there whole or not at all."""
    if output is None:
        csv.write_csv(rows, sys.stdout.buffer)
        sys.stdout.flush()
        return
    scratch = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        csv.write_csv(rows, scratch)
        scratch.replace(output)
    finally:
        scratch.unlink(missing_ok=True)
    print(f"wrote {rows.num_rows:,} rows to {output}", file=sys.stderr)


def print_checkpoint(checkpoint: dict[str, Any], counts: list[dict[str, Any]]) -> None:
    """Blocks for people: the model, its run, its snapshot, and the rows."""
    one = checkpoint
    weights = one["path"] if one["weights"] else "pruned; this lineage stays"
    block(
        "Checkpoint",
        {"id": one["checkpoint_id"], "step": one["step"], "parameters": one["parameters"], "saved": one["recorded_at"]}
        | {"weights": weights, "evaluations": ", ".join(one["evaluations"]), "exports": ", ".join(one["exports"])},
    )  # fmt: skip
    block(
        "Run",
        {
            "run": one["run_id"],
            "state": one["state"],
            "began": one["started_at"],
            "code": one["code_version"],
        },
    )
    block("Settings other than the defaults", settings(one["config"]))
    block(
        "Snapshot",
        {"snapshot": one["snapshot"], "content hash": one["content_hash"], "rows": one["rows"]}
        | {"made": one["snapshot_at"], "text tokenizer": one["text_tokenizer"]}
        | {"image tokenizer": one["image_tokenizer"], "replaced by": one["amended_by"]},
    )
    print("\nRows of the snapshot, and how often batches held them up to this step")
    print_rows(counts)


def print_sample(told: dict[str, Any]) -> None:
    """Blocks for people: the row, its decisions, its snapshots, and a line for each run that read it."""
    gone = "forgotten" if told["forgotten"] else "gone from the store"
    block("Row", told["sample"] or {"row": f"{gone}; what follows stays"})
    for title in ("decisions", "snapshots"):
        print(f"\n{title.capitalize()}")
        print_rows(told[title])
    print("\nTraining steps that read it (--json lists each, with its place in the batch)")
    print_rows(
        [
            {"run": run, "times": len(steps), "first step": steps[0]["step"], "last step": steps[-1]["step"]}
            for run, found in groupby(told["steps"], key=lambda one: one["run_id"])
            if (steps := list(found))
        ]
    )
    print("\nCheckpoints that saw it")
    print_rows(told["checkpoints"])


def block(title: str, values: dict[str, Any]) -> None:
    """A title and a line for each value that is known."""
    known = [{"": key, " ": value} for key, value in values.items() if value not in (None, "", [])]
    if known:
        print(f"\n{title}")
        print_rows(known)


def settings(config: dict[str, Any] | None) -> dict[str, Any]:
    """A run's settings that differ from the defaults (all, if this version knows others), each under its dotted name."""
    if config is None:
        return {}
    with suppress(ValidationError):
        config = TrainConfig.model_validate(config).model_dump(mode="json", exclude_defaults=True)
    return dict(dotted(config))


def dotted(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """The leaves of nested settings."""
    if not isinstance(value, dict):
        return [(name, value)]
    return [leaf for key, one in value.items() for leaf in dotted(one, f"{name}.{key}" if name else key)]


for_checkpoints = app.command("checkpoint")(guarded(checkpoint))
for_samples = app.command("sample")(guarded(sample))
