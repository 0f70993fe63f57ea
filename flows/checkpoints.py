"""A checkpoint by its id, with the model and the tokenizers that belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.config import ConfigError
from model.generate import Model
from model.tokenizers import Tokenizers
from storage import champions
from storage.store import Store

CHAMPION = "champion"
"""Names the checkpoint that was promoted last."""


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
        ConfigError: there is none of that name.
    """
    rows = store.read("checkpoints").sort_by([("recorded_at", "ascending")]).to_pylist()
    known = ", ".join(r["checkpoint_id"] for r in rows[-5:]) or "none yet"
    if checkpoint == CHAMPION:
        checkpoint = champions.champion(store) or ""
        if not checkpoint:
            raise ConfigError(f"{store.path} has no champion yet ({known}): `millrace promote` makes one")
    if checkpoint != "latest":
        rows = [r for r in rows if r["checkpoint_id"].startswith(checkpoint) or r["run_id"] == checkpoint]
    there = [r for r in rows if (store.path / r["path"]).is_dir()]  # the older ones of a run are pruned
    if not there:
        raise ConfigError(
            f'no checkpoint "{checkpoint}" in {store.path} ({known}); `millrace train` makes one'
        )
    return there[-1]


def load(store: Store, checkpoint: str = "latest") -> Loaded:
    """Loads a checkpoint; its name may be what `row_of` takes.

    Raises:
        ConfigError: there is none of that name.
    """
    row = row_of(store, checkpoint)
    model = Model.load(Path(store.path) / row["path"])
    assert model.saved is not None
    meta = model.saved.meta
    tokenizers = Tokenizers.load(store.folder("tokenizers"), meta["text_tokenizer"], meta["image_tokenizer"])
    return Loaded(row["checkpoint_id"], row["run_id"], row["snapshot"], model, tokenizers)
