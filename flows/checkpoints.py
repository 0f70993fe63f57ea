"""A checkpoint by its id, with the model and the tokenizers that belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.config import ConfigError
from model.checkpoint import META, CheckpointError
from model.generate import Model
from model.tokenizers import Tokenizers
from storage import champions, lineage
from storage.champions import CHAMPION
from storage.store import Store


@dataclass(frozen=True)
class Loaded:
    """A model ready to be asked."""

    id: str
    run_id: str
    snapshot: str
    model: Model
    tokenizers: Tokenizers


def row_of(store: Store, checkpoint: str = "latest") -> dict[str, Any]:
    """The row of a checkpoint by id (or its beginning), by run id, the newest one, or the champion.

    Raises:
        ConfigError: there is none of that name, or its weights were pruned.
    """
    rows = lineage.checkpoints(store)
    if checkpoint == CHAMPION:
        checkpoint = champions.champion(store) or ""
        if not checkpoint:
            raise ConfigError(
                f"{store.path} has no champion yet ({known(rows)}): `millrace promote` makes one"
            )
    meant = lineage.candidates(rows, checkpoint)
    there = [row for row in meant if is_there(store, row)]
    if there:
        return there[-1]
    if meant:
        raise pruned(store, rows, meant[-1])
    raise ConfigError(
        f'no checkpoint "{checkpoint}" in {store.path} ({known(rows)}); `millrace train` makes one'
    )


def load(store: Store, checkpoint: str = "latest") -> Loaded:
    """Loads a checkpoint; its name may be what `row_of` takes.

    Raises:
        ConfigError: there is none of that name, or its weights were pruned.
    """
    row = row_of(store, checkpoint)
    try:
        model = Model.load(folder(store, row))
    except (CheckpointError, FileNotFoundError):
        if is_there(store, row):
            raise
        raise pruned(store, lineage.checkpoints(store), row) from None  # in this moment
    assert model.saved is not None
    meta = model.saved.meta
    tokenizers = Tokenizers.load(store.folder("tokenizers"), meta["text_tokenizer"], meta["image_tokenizer"])
    return Loaded(row["checkpoint_id"], row["run_id"], row["snapshot"], model, tokenizers)


def folder(store: Store, row: Mapping[str, Any]) -> Path:
    """Where a checkpoint lies, or did."""
    return store.path / (row["path"] or f"checkpoints/{row['run_id']}/{row['step']:08d}")


def is_there(store: Store, row: Mapping[str, Any]) -> bool:
    """Whether its weights are: the older ones of a run are pruned, by training and by `millrace maintain`."""
    return (folder(store, row) / META).is_file()


def known(rows: Sequence[Mapping[str, Any]]) -> str:
    """The newest checkpoints, as the part of a message."""
    return ", ".join(row["checkpoint_id"] for row in rows[-5:]) or "none yet"


def pruned(store: Store, rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> ConfigError:
    """What to say of a checkpoint that is known, and whose weights are gone."""
    left = [one for one in rows if is_there(store, one)]
    same = [one for one in left if one["run_id"] == row["run_id"]] or left
    others = ", ".join(
        f"{one['checkpoint_id']} (run {one['run_id']}, step {one['step']:,})" for one in same[-3:]
    )
    instead = f"name one that is there: {others}" if others else "`millrace train` makes one"
    return ConfigError(
        f"checkpoint {row['checkpoint_id']} (run {row['run_id']}, step {row['step']:,}) was pruned: its weights are no "
        f"longer in {store.path}. `millrace lineage checkpoint {row['checkpoint_id']}` still tells what it was trained "
        f"on; {instead}"
    )
