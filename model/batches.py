"""Batches packed from (seed, step, corpus): the same at every start, whatever was drawn before.

A row of fixed length holds several units, which never see each other: a picture with several texts asked of it (as
branches: each sees the picture and itself), a text with the picture to be drawn from it, or a text alone. Which units they are
says `model.plan`, how they are written `model.layout`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.config import BatchConfig, ModelConfig, Vocabulary
from model.corpus import Corpus
from model.flex import block_mask
from model.layout import Layout
from model.plan import BLOCK, KINDS, READ, Kind, Supply, Units, draw, pack
from model.sequences import Sequences
from model.tokens import Tokens, rounded_up, tree_mask

TRIALS = 2
"""Blocks of steps that are packed to find out how many units fit."""
LEFT_OUT = 0.005
"""Share of the units that may find no row."""
AT_ONCE = 1 << 17
"""Tokens that are laid out at once, at most: of several steps, for NumPy's calls are dear for one."""


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
    """Packed rows as int32 `[rows, row_length]` (`positions` has two coordinates); `targets` is the next id
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
        read = (self.ids, self.positions, self.places, self.blocks)
        ids, positions, places, blocks = (column.to(device).long() for column in read)
        return Tokens(ids, positions, places, mask, blocks, real.to(device))


class Batches:
    """All batches of a run, by step.

    Raises:
        BatchError: nothing of the corpus fits into a row, or nothing is left under the weights.
    """

    def __init__(
        self,
        corpus: Corpus,
        config: BatchConfig,
        model: ModelConfig,
        vocabulary: Vocabulary,
        seed: int,
        views: np.ndarray | None = None,
    ) -> None:
        self.corpus, self.config, self.seed = corpus, config, seed
        self.sequences = Sequences(model, vocabulary)
        self.codes, self.short_until = self.sequences.codes, 0
        if len(corpus.codes) and corpus.codes.shape[1] != self.codes:
            raise BatchError(
                f"the corpus has {corpus.codes.shape[1]} codes a picture, the model {self.codes}: "
                "set the model's grid to the image tokenizer's"
            )
        self.lengths = self._lengths(vocabulary)
        self.weights = self._weights()
        pools = self._pools()
        self.pools = (*pools, self._short(pools[READ]))
        self.supply = Supply(corpus, config, self.codes, self.weights, self.lengths, self.pools, views)
        self.layout = Layout(self.supply, self.sequences, model.see_whole_picture)
        self.shares, self.per_step = np.zeros(len(KINDS)), 0.0
        self._planned: dict[int, Units] = {}
        self._laid: dict[int, dict[str, tuple[Tensor, ...]]] = {}
        if not config.rows:
            return
        tokens = config.rows * config.row_length
        self.together = next(n for n in (16, 8, 4, 2, 1) if n == 1 or n * tokens <= AT_ONCE)
        self.shares = self._shares()
        self.per_step = self._units_per_step()
        self._spare()

    def start_short(self, steps: int) -> None:
        """Of a run of so many steps, the first share reads only pictures with short texts."""
        self.short_until = round(self.config.short_first * steps)
        self._planned, self._laid = {}, {}

    def plan(self, step: int) -> list[list[Unit]]:
        """The units of each row at a step (counted from 0)."""
        units = self._units(step, step + 1)
        rows: list[list[Unit]] = [[] for _ in range(self.config.rows)]
        columns = (units.kind, units.picture, units.texts, units.captioned, units.row)
        for kind, picture, texts, captioned, row in zip(*(c.tolist() for c in columns), strict=True):
            rows[row].append(Unit(KINDS[kind], picture, [t for t in texts if t >= 0], captioned))
        return rows

    def sample_ids(self, step: int) -> list[list[str]]:
        """The samples in each row at a step, in order: what the batch plan records."""
        names, gone = self.corpus.sample_ids, self.corpus.gone
        return [
            [names[i].decode() for unit in row for i in unit.texts if not gone[i]] for row in self.plan(step)
        ]

    def batch(self, step: int) -> Batch:
        """The packed tokens of a step."""
        if not self.config.rows:
            return self._none()
        number, place = divmod(step, self.together)
        laid = self._laid.get(number)
        if laid is None:
            units = self._units(number * self.together, (number + 1) * self.together)
            columns = self.layout.lay_out(units, self.together * self.config.rows)
            laid = {
                name: torch.from_numpy(column).split(self.config.rows) for name, column in columns.items()
            }
            self._laid = {number: laid}  # who asks for steps in turn asks for each but once
        return Batch(**{name: steps[place] for name, steps in laid.items()})

    def _none(self) -> Batch:
        """A batch without rows."""
        empty = self.layout.lay_out(draw(self.supply, self.seed, 0, np.zeros(len(KINDS)), 0), 0)
        return Batch(**{name: torch.from_numpy(column) for name, column in empty.items()})

    def _units(self, first: int, last: int) -> Units:
        """Packed units of some steps of one block; their rows are counted through these steps."""
        number = first // BLOCK
        planned = self._planned.get(number)
        if planned is None:
            planned = pack(self.supply, self._drawn(number))
            self._planned = {number: planned}
        first, last = first - number * BLOCK, last - number * BLOCK
        units = planned.take(np.arange(*np.searchsorted(planned.step, [first, last])))
        return Units(**{**vars(units), "row": (units.step - first) * self.config.rows + units.row})

    def _drawn(self, block: int) -> Units:
        return draw(self.supply, self.seed, block, self.per_step * self.shares, self.short_until)

    # What is known beforehand.

    def _weights(self) -> np.ndarray:
        """Weight of each text in each kind of unit: float64 `[kinds, texts]`; 0 where no row can hold it."""
        c, config = self.corpus, self.config
        lang = np.array([config.language_weights.get(name, 1.0) for name in c.langs] or [1.0])
        named = config.task_weights
        pairs = [[named.get(f"{t}:{one}", named.get(t, 1.0)) for one in c.langs] for t in c.tasks] or [[1.0]]
        drawn = np.array([float(name in config.draw_tasks) for name in c.tasks] or [0.0])
        alone = np.array([float(name in config.text_tasks) for name in c.tasks] or [0.0])
        weights = lang[c.lang] * np.array(pairs)[c.task, c.lang]
        pictured = c.picture >= 0
        found = np.stack(
            [
                np.where(pictured, weights, 0.0),
                np.where(pictured, weights * drawn[c.task], 0.0),
                np.where(pictured, weights * alone[c.task], weights),
            ]
        )
        room = np.array([config.row_length - self.codes - 2, config.row_length, config.row_length])
        self.too_long = int(((self.lengths[READ] > room[READ]) & pictured).sum())
        return np.where(self.lengths > room[:, None], 0.0, found)

    def _lengths(self, vocabulary: Vocabulary) -> np.ndarray:
        """Tokens of each text in each kind of unit, a read picture's own apart: int64 `[kinds, texts]`."""
        c = self.corpus
        lang = np.array([len(vocabulary.tags(name, None)) for name in c.langs] or [0])[c.lang]
        task = np.array([len(vocabulary.tags(None, name)) for name in c.tasks] or [0])[c.task]
        text, prompt = np.diff(c.ends), np.diff(c.prompt_ends)
        branch = lang + task + prompt + text + 2
        return np.stack([branch, lang + text + self.codes + 3, branch + 1])

    def _pools(self) -> tuple[np.ndarray, ...]:
        """Pictures (or texts) that can be a unit of each kind."""
        read, drawn, alone = (np.flatnonzero(weights > 0) for weights in self.weights)
        return np.unique(self.corpus.picture[read]), np.unique(self.corpus.picture[drawn]), alone

    def _short(self, pool: np.ndarray) -> np.ndarray:
        """The half of the pictures to be read whose longest text is shortest: the simple ones."""
        usable = self.weights[READ] > 0
        longest = np.zeros(len(self.corpus.codes), np.int64)
        np.maximum.at(longest, self.corpus.picture[usable], self.lengths[READ][usable])
        return pool[longest[pool] <= np.median(longest[pool])] if len(pool) else pool

    def _shares(self) -> np.ndarray:
        """Share of each kind among the units; what the corpus lacks goes to the others in proportion."""
        config = self.config
        wanted = np.array([0.0, config.draw_share, config.text_share])
        wanted[READ] = max(0.0, 1 - wanted.sum())
        shares = np.where([len(pool) > 0 for pool in self.pools[: len(KINDS)]], wanted, 0.0)
        if not shares.sum():
            raise BatchError(
                f"nothing to train on: of {len(self.corpus.sample_ids)} texts and {len(self.corpus.codes)} "
                f"pictures none fits a row of {config.row_length} tokens under task and language weights: "
                "raise row_length or the weights"
            )
        return shares / shares.sum()

    def _units_per_step(self) -> float:
        """How many units fill a step's rows on average: at least one a row."""
        c, mean = self.corpus, 0.0
        for kind in np.flatnonzero(self.shares):
            usable = self.weights[kind] > 0
            length = float(np.average(self.lengths[kind][usable], weights=self.weights[kind][usable]))
            if kind == READ:
                texts = np.bincount(c.picture[usable], minlength=len(c.codes))
                several = np.minimum(texts[texts > 0], self.config.texts_per_picture).mean()
                length = self.codes + 2 + length * several
            mean += self.shares[kind] * length
        fitting = self.config.rows * self.config.row_length / mean
        return self.config.fill * max(1.0, self.config.rows, fitting)

    def _spare(self) -> None:
        """Lowers the units per step until rows take nearly all: what does not fit would never be seen."""
        while self.per_step > 1:
            drawn = [self._drawn(block) for block in range(TRIALS)]
            packed = [pack(self.supply, units) for units in drawn]
            if sum(len(p.row) for p in packed) >= (1 - LEFT_OUT) * sum(len(d.row) for d in drawn):
                break
            self.per_step = max(1.0, self.per_step * 0.98)
