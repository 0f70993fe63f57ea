"""A checkpoint by its id, with the model and the tokenizers that belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.config import ConfigError
from model.generate import Model
from model.tokenizers import Tokenizers
from storage.store import Store


@dataclass(frozen=True)
class Loaded:
    """A model ready to be asked."""

    id: str
    run_id: str
    snapshot: str
    model: Model
    tokenizers: Tokenizers


def load(store: Store, checkpoint: str = "latest") -> Loaded:
    """Loads a checkpoint by id (or its beginning), by run id, or the newest one.

    Raises:
        ConfigError: there is none of that name.
    """
    rows = store.read("checkpoints").sort_by([("recorded_at", "ascending")]).to_pylist()
    if checkpoint != "latest":
        rows = [r for r in rows if r["checkpoint_id"].startswith(checkpoint) or r["run_id"] == checkpoint]
    there = [r for r in rows if (store.path / r["path"]).is_dir()]  # the older ones of a run are pruned
    if not there:
        known = (
            ", ".join(r["checkpoint_id"] for r in store.read("checkpoints").to_pylist()[-5:]) or "none yet"
        )
        raise ConfigError(
            f'no checkpoint "{checkpoint}" in {store.path} ({known}); `millrace train` makes one'
        )
    row = there[-1]
    model = Model.load(Path(store.path) / row["path"])
    assert model.saved is not None
    meta = model.saved.meta
    tokenizers = Tokenizers.load(store.folder("tokenizers"), meta["text_tokenizer"], meta["image_tokenizer"])
    return Loaded(row["checkpoint_id"], row["run_id"], row["snapshot"], model, tokenizers)
