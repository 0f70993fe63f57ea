"""Captions by a checkpoint of the store, for annotators: it is sent between processes as a place and a hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from model.checkpoint import read
from model.generate import Model, Question, read_pictures
from model.tokenizers import Tokenizers
from storage.media import pixels

BATCH = 128
"""Pictures held decoded."""


@dataclass(frozen=True)
class Captioner:
    """A checkpoint that says what it sees."""

    checkpoint: str
    """Its folder."""
    tokenizers: str
    """The store's folder of tokenizers."""
    id: str
    """The checkpoint's id."""

    @classmethod
    def load(cls, checkpoint: Path, tokenizers: Path) -> Captioner:
        """Reads model and tokenizers.

        Raises:
            CheckpointError: there is no such checkpoint, or it is damaged.
            TokenizerError: its tokenizers are not there.
        """
        made = cls(str(checkpoint), str(tokenizers), read(checkpoint).id)
        _loaded(made)
        return made

    def caption(self, images: Sequence[Any], lang: str) -> list[str]:
        """A caption for each encoded picture (PNG or JPEG, bytes or buffers): the likeliest words."""
        (model, tokenizers), said = _loaded(self), []
        for start in range(0, len(images), BATCH):
            part = np.stack([pixels(one, tokenizers.image.size) for one in images[start : start + BATCH]])
            asked = [Question(i, lang, "caption") for i in range(len(part))]
            said += read_pictures(model, tokenizers.image.encode(part), asked, batch=BATCH)
        return [tokenizers.decode(ids) for ids in said]


@lru_cache(maxsize=1)
def _loaded(which: Captioner) -> tuple[Model, Tokenizers]:
    model = Model.load(Path(which.checkpoint))
    assert model.saved is not None
    meta = model.saved.meta
    return model, Tokenizers.load(Path(which.tokenizers), meta["text_tokenizer"], meta["image_tokenizer"])
