"""A checkpoint as a folder of the Hugging Face kind: weights, tokenizers, configuration and a model card."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer

from flows.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from flows.printing import tell
from pipeline.step import digest
from storage.store import Store

CARD = "README.md"


def export(
    checkpoint: Annotated[str, typer.Argument(help="Id of a checkpoint or of a run, or latest.")],
    folder: Annotated[Path, typer.Argument(help="An empty or new folder.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Writes a checkpoint as a folder for Hugging Face's transformers, with a model card from the lineage.

    Example: millrace export latest gallery-tiny
    """
    done = run(config, checkpoint, folder)
    tell(
        f"exported checkpoint {done['checkpoint']} to {done['folder']}; its card is {done['card']}",
        done,
        as_json,
    )


def run(config: Path, checkpoint: str, folder: Path) -> dict[str, Any]:
    """Writes the folder, whole or not at all.

    Raises:
        ConfigError: no such checkpoint, the folder holds something, or transformers is not installed.
        CheckpointError: the checkpoint is damaged.
    """
    from flows.config import ConfigError, read

    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} holds something already: name an empty or new folder")
    store = read(config).open_store()
    try:
        from model import hub
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise ConfigError('the export needs transformers: pip install "millrace[hub]"') from error
    from flows import card, checkpoints

    loaded = checkpoints.load(store, checkpoint)
    assert loaded.model.saved is not None
    target = folder.resolve()
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    scratch.mkdir(parents=True)
    try:
        hub.export(loaded.model, loaded.tokenizers, scratch)
        page = card.write(store, loaded.model.saved.meta, target.name)
        (scratch / CARD).write_text(page, encoding="utf-8", newline="\n")
        record(
            store, loaded.id, loaded.snapshot, target
        )  # before it is there: what is out must not be pruned
        scratch.replace(target)  # an empty folder is replaced, too
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {"checkpoint": loaded.id, "folder": str(folder), "card": str(folder / CARD)}


def record(store: Store, checkpoint: str, snapshot: str, folder: Path) -> None:
    """A row in `runs`: this checkpoint was exported, and where to."""
    what = {"checkpoint": checkpoint, "folder": str(folder)}
    run_id = f"export-{digest(what)[:12]}"
    row = {
        "run_id": run_id,
        "kind": "export",
        "state": "finished",
        "snapshot": snapshot,
        "config": json.dumps(what),
    }
    store.append(
        "runs",
        pa.Table.from_pylist([{**row, "recorded_at": datetime.now(UTC)}]),
        parts=[f"{run_id}/finished"],
    )
