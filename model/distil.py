"""Cross-domain distillation: the states of pictures and of their captions are drawn to the vectors that an image-text
model gave them, which the store holds as columns.

A state is projected and brought to length 1. One loss draws it to the vector of the same item (1 - cosine); the other
tells its partner's vector, a picture's caption's or a caption's picture's, from those of the other items of the step
(InfoNCE, van den Oord et al., 2018, arXiv 1807.03748). The others' vectors are the teacher's and constant, so shares of
a step add up to exactly the loss over all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model import items
from model.config import ConfigError, TrainConfig
from model.corpus import MAPPED_FROM, Corpus
from model.items import Items, Pool
from model.objectives_config import DistilConfig
from model.plan import philox
from model.sequences import Sequences
from model.transformer import Transformer
from storage.snapshot import Snapshot
from storage.views import literal

ORDER, CAPTION, SHUFFLE = 10, 18, 19
"""Numbers of its random streams: the pool's walk, which caption, the control's vectors."""
ROWS = 8_192
"""Vectors read from the store at once."""


@dataclass(frozen=True)
class Vectors:
    """What the teacher gave some of the pictures or texts."""

    values: np.ndarray
    """float32 `[vectors, width]`, of length 1 each."""
    place: np.ndarray
    """int64: the vector of each picture or text, -1 for none."""

    def of(self, things: np.ndarray) -> np.ndarray:
        """Those of things that have one."""
        return np.asarray(self.values[self.place[things]])

    def shuffled(self, seed: int, number: int) -> Vectors:
        """Each under the name of another."""
        there = np.flatnonzero(self.place >= 0)
        place = self.place.copy()
        place[there] = philox(seed, SHUFFLE, number).permutation(self.place[there])
        return Vectors(self.values, place)


@dataclass(frozen=True)
class Teacher:
    """The vectors of a split."""

    image: Vectors
    text: Vectors

    @property
    def width(self) -> int:
        return self.image.values.shape[1]

    @classmethod
    def of(cls, snapshot: Snapshot, corpus: Corpus, config: TrainConfig) -> Teacher:
        """As the snapshot pins them.

        Raises:
            ConfigError: it pins none, or none of its pictures has one beside a caption with one.
        """
        image = load(snapshot, "image_embeddings", "image_id", corpus.image_ids, config.split)
        text = load(snapshot, "text_embeddings", "sample_id", corpus.sample_ids, config.split)
        if config.objectives.distil.teacher == "shuffled":
            image, text = image.shuffled(config.seed, 0), text.shuffled(config.seed, 1)
        return cls(image, text)


def load(snapshot: Snapshot, table: str, key: str, names: np.ndarray, split: str) -> Vectors:
    """The vectors that an annotator's table has for sorted names."""
    if table not in snapshot.versions:
        raise ConfigError(
            f"[train.objectives.distil] snapshot {snapshot.name} pins no {table}, since it was made before there were any: "
            f'add [[annotators]] use = "annotators.{table}", and train on a snapshot that an ingest makes after that'
        )
    con = snapshot.connect()
    try:
        members = (
            f"SELECT s.{key} FROM members m JOIN samples s USING (sample_id) WHERE m.split = {literal(split)}"
        )
        found = f"FROM {table} SEMI JOIN ({members}) USING ({key}) WHERE embedding IS NOT NULL"
        [(rows, width)] = con.sql(f"SELECT count(*), coalesce(max(len(embedding)), 0) {found}").fetchall()
        values = room(snapshot.store.path, rows, width)
        place, at = np.full(len(names), -1, np.int64), 0
        for batch in con.sql(f"SELECT {key}, embedding {found} ORDER BY {key}").to_arrow_reader(ROWS):
            stop = at + batch.num_rows
            values[at:stop] = batch.column(1).flatten().to_numpy().reshape(-1, width)
            theirs = np.array(batch.column(0).to_pylist(), np.bytes_)
            slot = np.searchsorted(names, theirs).clip(max=len(names) - 1)
            known = names[slot] == theirs
            place[slot[known]] = np.arange(at, stop)[known]
            at = stop
    finally:
        con.close()
    return Vectors(values, place)


def room(folder: Path, rows: int, width: int) -> np.ndarray:
    """float32 `[rows, width]` in memory, or where they are many in a file of that folder that has no name."""
    if rows < MAPPED_FROM:
        return np.zeros((rows, width), np.float32)
    with TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.float32, "w+", shape=(rows, width))


@dataclass(frozen=True)
class Distil:
    """The objective on pictures, each with one of its captions."""

    config: DistilConfig
    teacher: Teacher
    corpus: Corpus
    sequences: Sequences
    longest: int
    seed: int
    pool: Pool

    names = ("distil_cosine", "distil_contrastive")

    @classmethod
    def of(
        cls,
        config: DistilConfig,
        teacher: Teacher,
        corpus: Corpus,
        sequences: Sequences,
        longest: int,
        seed: int,
    ) -> Distil:
        """Draws from the pictures that have a vector beside a caption that has one.

        Raises:
            ConfigError: there is none.
        """
        told = np.zeros(len(corpus.codes), bool)
        told[corpus.picture[(corpus.picture >= 0) & (teacher.text.place >= 0)]] = True
        members = np.flatnonzero(told & (teacher.image.place >= 0))
        if not len(members):
            raise ConfigError(
                "[train.objectives.distil] no training picture has a vector beside a caption that has one: see the "
                "tables image_embeddings and text_embeddings"
            )
        return cls(config, teacher, corpus, sequences, longest, seed, Pool(members, ORDER))

    def weights(self, step: int, steps: int) -> list[float]:
        return [self.config.weight * self.config.cosine, self.config.weight * self.config.contrastive]

    def members(self, step: int) -> np.ndarray:
        """A picture and its caption in turn."""
        rng, made = philox(self.seed, CAPTION, step), []
        for picture in self.pool.draw(self.seed, step, self.config.items):
            texts = self.corpus.texts_of(picture)
            made += [picture, -1 - rng.choice(texts[self.teacher.text.place[texts] >= 0])]
        return np.array(made)

    def items(self, step: int) -> Items:
        members = self.members(step)
        pictures, texts = members[::2], -1 - members[1::2]
        image, text = self.teacher.image.of(pictures), self.teacher.text.of(texts)
        wanted = {
            "own": np.stack([image, text], 1).reshape(len(members), -1),
            "pair": np.repeat(np.arange(len(pictures)), 2),
            "is_text": np.tile([False, True], len(pictures)),
        }
        batch = items.laid_out(self.corpus, self.sequences, members, self.longest)
        common = items.as_rows({"image": image, "text": text})
        return Items(batch, items.as_rows(wanted), len(members), common)

    def losses(self, network: Transformer, share: Items, device: str) -> list[Tensor]:
        """Their part in the mean of both losses over the step's pictures and captions."""
        wanted = {name: column.to(device) for name, column in share.wanted.items()}
        own, is_text = items.own(share.batch).to(device), wanted["is_text"]
        state = network.projected(share.batch.tokens(device), own, is_text)
        cosine = (1 - (state * wanted["own"]).sum(1)).sum()
        vectors = {name: matrix.to(device) for name, matrix in share.common.items()}
        logits = torch.where(is_text[:, None], state @ vectors["image"].T, state @ vectors["text"].T)
        contrastive = F.cross_entropy(logits / self.config.temperature, wanted["pair"], reduction="sum")
        return [cosine / share.total, contrastive / share.total]
