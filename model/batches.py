"""Batches packed from (seed, step, corpus): the same at every start, whatever was drawn before.

A row of fixed length holds several units, which never see each other: a picture with several texts asked of
it (as
branches: each sees the picture and itself), a text with the picture to be drawn from it, or a text alone.
Every kind of unit walks through its own permutation of the corpus, epoch by epoch; a step's place in each is
a closed formula, so any step can be made at once. Randomness is counter-based (Philox).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from model.config import BatchConfig, ModelConfig, Vocabulary
from model.corpus import Corpus
from model.flex import block_mask
from model.sequences import Sequences
from model.tokens import Tokens, rounded_up, tree_mask

Kind = Literal["read", "draw", "text"]
KINDS: tuple[Kind, ...] = ("read", "draw", "text")


TRIALS = 20
"""Steps that are packed to find out how many units fit."""
LEFT_OUT = 0.005
"""Share of the units that may find no row."""


class BatchError(Exception):
    """No batch can be made of this corpus; the message says what to change."""


@dataclass
class Unit:
    """A picture and its texts, or a text alone: indices into the corpus."""

    kind: Kind
    picture: int
    texts: list[int]
    captioned: bool = True


@dataclass(frozen=True)
class Batch:
    """Packed rows as int64 `[rows, row_length]` (`positions` has two coordinates); `targets` is the next id
    wanted at each token, -1 for none."""

    ids: Tensor
    positions: Tensor
    places: Tensor
    units: Tensor
    branches: Tensor
    blocks: Tensor
    targets: Tensor

    def shares(self, number: int) -> list[Batch]:
        """The batch cut into so many runs of rows, fewer if there are fewer rows."""
        cut = {name: column.chunk(number) for name, column in vars(self).items()}
        return [Batch(**dict(zip(cut, part, strict=True))) for part in zip(*cut.values(), strict=True)]

    def none(self) -> Batch:
        """None of its rows."""
        return Batch(**{name: column[:0] for name, column in vars(self).items()})

    def tokens(self, device: str = "cpu", *, flex: bool = False) -> Tokens:
        """What the network reads, with the mask that keeps units and branches apart; with `flex`, FlexAttention's."""
        masked = block_mask if flex else tree_mask
        mask = masked(self.units.to(device), self.branches.to(device), self.blocks.to(device))
        real = rounded_up(self.units >= 0, (self.places == 0) & (self.blocks == 0))
        return Tokens(self.ids, self.positions, self.places, mask, self.blocks, real).to(device)


class Rows:
    """Rows being filled, run by run."""

    def __init__(self, rows: int, length: int, sequences: Sequences) -> None:
        fill = {
            "ids": sequences.vocabulary["<pad>"],
            "places": 0,
            "units": -1,
            "branches": 0,
            "blocks": 0,
            "targets": -1,
        }
        self.columns = {name: np.full((rows, length), value, np.int64) for name, value in fill.items()}
        self.columns["positions"] = np.zeros((rows, length, 2), np.int64)
        self.sequences = sequences
        self.used = [0] * rows
        self.ids: list[int] = []
        self.runs: list[tuple[int, ...]] = []

    def add(
        self, row: int, ids: Sequence[int], first: int, unit: int, branch: int, loss: tuple[int, int]
    ) -> slice:
        """A run of tokens from position `first`; those numbered loss[0] up to loss[1] each predict the next
        one."""
        run = slice(self.used[row], self.used[row] + len(ids))
        self.ids += ids
        self.runs.append((len(ids), row, run.start, first, unit, branch, *loss))
        self.used[row] = run.stop
        return run

    def batch(self) -> Batch:
        """All runs in their places, laid out at once."""
        flat, table = np.array(self.ids, np.int64), np.array(self.runs, np.int64).reshape(-1, 8)
        lengths = table[:, 0]
        row, start, first, unit, branch, low, high = np.repeat(table[:, 1:], lengths, axis=0).T
        inner = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        positions, places = self.sequences.located(flat, inner, first)
        predicts = (inner >= low) & (inner < high)
        found = {
            "ids": flat,
            "positions": positions,
            "places": places,
            "units": unit,
            "branches": branch,
            "targets": np.where(predicts, np.roll(flat, -1), -1),
        }
        for name, values in found.items():
            self.columns[name][row, start + inner] = values
        return Batch(**{name: torch.from_numpy(column) for name, column in self.columns.items()})


class Batches:
    """All batches of a run, by step.

    Raises:
        BatchError: nothing of the corpus fits into a row, or nothing is left under the weights.
    """

    def __init__(
        self, corpus: Corpus, config: BatchConfig, model: ModelConfig, vocabulary: Vocabulary, seed: int
    ) -> None:
        self.corpus, self.config, self.seed = corpus, config, seed
        self.see_whole_picture = model.see_whole_picture
        self.sequences = Sequences(model, vocabulary)
        self.codes, self.short_until = self.sequences.codes, 0
        if len(corpus.codes) and corpus.codes.shape[1] != self.codes:
            raise BatchError(
                f"the corpus has {corpus.codes.shape[1]} codes a picture, the model {self.codes}: "
                "set the model's grid to the image tokenizer's"
            )
        self.weights = self._weights()
        self.lengths = self._lengths(vocabulary)
        self.pools = self._pools()
        self.short = self._short()
        self.shares, self.per_step = dict.fromkeys(KINDS, 0.0), 0.0
        if not config.rows:
            return
        self.shares = self._shares()
        self.per_step = self._units_per_step()
        self._spare()

    def start_short(self, steps: int) -> None:
        """Of a run of so many steps, the first share reads only pictures with short texts."""
        self.short_until = round(self.config.short_first * steps)

    def plan(self, step: int) -> list[list[Unit]]:
        """The units of each row at a step (counted from 0)."""
        rng = philox(self.seed, 0, step)
        units = [unit for kind in KINDS for unit in self._draw(kind, step, rng)]
        return self._pack(units)

    def sample_ids(self, step: int) -> list[list[str]]:
        """The samples in each row at a step, in order: what the batch plan records."""
        names = self.corpus.sample_ids
        return [[names[i].decode() for unit in row for i in unit.texts] for row in self.plan(step)]

    def batch(self, step: int) -> Batch:
        """The packed tokens of a step."""
        rows = Rows(self.config.rows, self.config.row_length, self.sequences)
        for r, units in enumerate(self.plan(step)):
            for u, unit in enumerate(units):
                getattr(self, f"_add_{unit.kind}")(rows, r, u, unit)
        return rows.batch()

    # What a unit looks like.

    def _add_read(self, rows: Rows, row: int, number: int, unit: Unit) -> None:
        c, s, n = self.corpus, self.sequences, self.codes
        loss = (0, n) if self.config.image_loss_when_reading else (0, 0)
        run = rows.add(row, s.picture(c.codes[unit.picture]), 0, number, 0, loss)
        if self.see_whole_picture:
            rows.columns["blocks"][row, run.start + 1 : run.stop - 1] = number + 1
        for branch, i in enumerate(unit.texts, 1):
            question = s.question(c.langs[c.lang[i]], c.tasks[c.task[i]], c.prompt(i))
            ids = question + s.answer(c.text(i))
            rows.add(row, ids, s.after_picture, number, branch, (len(question) - 1, len(ids) - 1))

    def _add_draw(self, rows: Rows, row: int, number: int, unit: Unit) -> None:
        c, s, n = self.corpus, self.sequences, self.codes
        wish, first = s.wish(), 0
        if unit.captioned:
            i = unit.texts[0]
            wish = s.wish(c.langs[c.lang[i]], c.text(i))
            first = len(wish) - 2 - int(c.ends[i + 1] - c.ends[i])
        picture = s.picture(c.codes[unit.picture])
        start = first if self.config.text_loss_when_drawing and unit.captioned else len(wish) - 1
        rows.add(row, wish + picture[1:], 0, number, 0, (start, len(wish) - 1 + n))

    def _add_text(self, rows: Rows, row: int, number: int, unit: Unit) -> None:
        c, s, i = self.corpus, self.sequences, unit.texts[0]
        start = s.text(c.langs[c.lang[i]], c.tasks[c.task[i]], c.prompt(i))
        ids = start + s.answer(c.text(i))
        rows.add(row, ids, 0, number, 0, (len(start) - 1, len(ids) - 1))

    # Which units a step has.

    def _draw(self, kind: Kind, step: int, rng: np.random.Generator) -> list[Unit]:
        """The next units of a kind: a step's quota is the difference of two rounded-down products."""
        rate, pool, stream = self.per_step * self.shares[kind], self.pools[kind], KINDS.index(kind)
        if kind == "read" and step < self.short_until:
            pool, stream = self.short, len(KINDS)
        first, last = math.floor(step * rate), math.floor((step + 1) * rate)
        units = []
        for position in range(first, last):
            epoch, place = divmod(position, len(pool))
            item = int(pool[permutation(self.seed, stream, epoch, len(pool))[place]])
            if kind == "text":
                units.append(Unit(kind, -1, [item]))
                continue
            texts = self.corpus.texts_of(item)
            weights = self.weights[kind][texts]
            most = 1 if kind == "draw" else self.config.texts_per_picture
            # The smallest of exponential draws divided by weights: weighted, without replacement.
            race = rng.exponential(size=len(texts)) / np.maximum(weights, 1e-30)
            chosen = [int(texts[j]) for j in np.argsort(race, kind="stable")[:most] if weights[j] > 0]
            captioned = kind != "draw" or rng.random() >= self.config.caption_dropout
            units.append(Unit(kind, item, chosen, captioned))
        return units

    def _pack(self, units: list[Unit]) -> list[list[Unit]]:
        """Longest first into the row with most room, a picture with one text; more texts while there is room.
        What does not fit is left out: the plan shows it."""
        room = [self.config.row_length] * self.config.rows
        rows: list[list[Unit]] = [[] for _ in room]
        waiting: list[tuple[int, Unit, list[int]]] = []
        for unit in sorted(units, key=self._base, reverse=True):
            row = max(range(len(room)), key=lambda r: room[r])
            if self._base(unit) > room[row]:
                continue
            room[row] -= self._base(unit)
            texts, unit.texts = unit.texts, unit.texts[:1]
            rows[row].append(unit)
            waiting.append((row, unit, texts[1:]))
        for turn in range(self.config.texts_per_picture):
            for row, unit, more in waiting:
                if turn < len(more) and self.lengths["read"][more[turn]] <= room[row]:
                    room[row] -= int(self.lengths["read"][more[turn]])
                    unit.texts.append(more[turn])
        return rows

    def _base(self, unit: Unit) -> int:
        """Tokens of a unit with its first text."""
        if unit.kind == "draw" and not unit.captioned:
            return self.codes + 3
        trunk = self.codes + 2 if unit.kind == "read" else 0
        return trunk + int(self.lengths[unit.kind][unit.texts[0]])

    # What is known beforehand.

    def _weights(self) -> dict[Kind, np.ndarray]:
        """Weight of each text in each kind of unit."""
        c, config = self.corpus, self.config
        lang = np.array([config.language_weights.get(name, 1.0) for name in c.langs] or [1.0])
        named = config.task_weights
        pairs = [[named.get(f"{t}:{one}", named.get(t, 1.0)) for one in c.langs] for t in c.tasks] or [[1.0]]
        drawn = np.array([float(name in config.draw_tasks) for name in c.tasks] or [0.0])
        weights = lang[c.lang] * np.array(pairs)[c.task, c.lang]
        return {"read": weights, "draw": weights * drawn[c.task], "text": weights}

    def _lengths(self, vocabulary: Vocabulary) -> dict[Kind, np.ndarray]:
        """Tokens of each text in each kind of unit, a read picture's own apart."""
        c = self.corpus
        lang = np.array([len(vocabulary.tags(name, None)) for name in c.langs] or [0])[c.lang]
        task = np.array([len(vocabulary.tags(None, name)) for name in c.tasks] or [0])[c.task]
        text, prompt = np.diff(c.ends), np.diff(c.prompt_ends)
        branch = lang + task + prompt + text + 2
        return {"read": branch, "draw": lang + text + self.codes + 3, "text": branch + 1}

    def _pools(self) -> dict[Kind, np.ndarray]:
        """Pictures (or texts) that can be a unit of each kind; texts that no row can hold lose their
        weight."""
        c, room = self.corpus, self.config.row_length
        extra = {"read": self.codes + 2, "draw": 0, "text": 0}
        self.too_long = int(((self.lengths["read"] + self.codes + 2 > room) & (c.picture >= 0)).sum())
        for kind in KINDS:
            self.weights[kind] = np.where(self.lengths[kind] + extra[kind] > room, 0.0, self.weights[kind])
        pictured = c.picture >= 0
        return {
            "read": np.unique(c.picture[pictured & (self.weights["read"] > 0)]),
            "draw": np.unique(c.picture[pictured & (self.weights["draw"] > 0)]),
            "text": np.flatnonzero(~pictured & (self.weights["text"] > 0)),
        }

    def _short(self) -> np.ndarray:
        """The half of the pictures to be read whose longest text is shortest: the simple ones."""
        c, pool = self.corpus, self.pools["read"]
        usable = (c.picture >= 0) & (self.weights["read"] > 0)
        longest = np.zeros(len(c.codes), np.int64)
        np.maximum.at(longest, c.picture[usable], self.lengths["read"][usable])
        return pool[longest[pool] <= np.median(longest[pool])] if len(pool) else pool

    def _shares(self) -> dict[Kind, float]:
        """Share of each kind among the units; what the corpus lacks goes to the others in proportion."""
        config = self.config
        wanted = {"draw": config.draw_share, "text": config.text_share}
        wanted["read"] = max(0.0, 1 - sum(wanted.values()))
        shares = {kind: wanted[kind] if len(self.pools[kind]) else 0.0 for kind in KINDS}
        total = sum(shares.values())
        if not total:
            raise BatchError(
                f"nothing to train on: of {len(self.corpus.sample_ids)} texts and {len(self.corpus.codes)} "
                f"pictures none fits a row of {config.row_length} tokens under task and language weights: "
                "raise row_length or the weights"
            )
        return {kind: share / total for kind, share in shares.items()}

    def _units_per_step(self) -> float:
        """How many units fill a step's rows on average: at least one a row."""
        c, mean = self.corpus, 0.0
        for kind, share in self.shares.items():
            if not share:
                continue
            usable = self.weights[kind] > 0
            usable &= (c.picture < 0) if kind == "text" else (c.picture >= 0)
            length = float(np.average(self.lengths[kind][usable], weights=self.weights[kind][usable]))
            if kind == "read":
                texts = np.bincount(c.picture[usable], minlength=len(c.codes))
                length = (
                    self.codes
                    + 2
                    + length * np.minimum(texts[texts > 0], self.config.texts_per_picture).mean()
                )
            mean += share * length
        fitting = self.config.rows * self.config.row_length / mean
        return self.config.fill * max(1.0, self.config.rows, fitting)

    def _spare(self) -> None:
        """Lowers the units per step until rows take nearly all: what does not fit would never be seen."""
        while self.per_step > 1:
            drawn = [
                sum(len(self._draw(k, s, philox(self.seed, 0, s))) for k in KINDS) for s in range(TRIALS)
            ]
            packed = [sum(map(len, self.plan(step))) for step in range(TRIALS)]
            if sum(packed) >= (1 - LEFT_OUT) * sum(drawn):
                break
            self.per_step = max(1.0, self.per_step * 0.98)


def philox(seed: int, purpose: int, counter: int) -> np.random.Generator:
    """Randomness that depends on these three alone: purpose 0 is the units of a step, 1 + kind an epoch's order."""
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, counter, 0]))


@lru_cache(maxsize=16)
def permutation(seed: int, kind: int, epoch: int, n: int) -> np.ndarray:
    """The order in which an epoch walks through n things of a kind."""
    return philox(seed, 1 + kind, epoch).permutation(n)
