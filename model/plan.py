"""Which units a step has, and into which of its rows they go.

Every kind of unit walks through its own permutation of the corpus, epoch by epoch; a step's place in each is a closed
formula. Steps are planned some at a time, for one at a time would spend its time calling NumPy; randomness is
counter-based (Philox), one stream for each such block, so that any of them can be made at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from heapq import heapify, heapreplace
from itertools import pairwise
from typing import Literal

import numpy as np

from model.config import BatchConfig
from model.corpus import Corpus

Kind = Literal["read", "draw", "text"]
KINDS: tuple[Kind, ...] = ("read", "draw", "text")
READ, DRAW, TEXT = range(len(KINDS))
BLOCK = 16
"""Steps that are planned at once."""
LINE, START = 64, 66
"""Numbers of the streams that say in which line an epoch's weighted texts stand, and where it is begun."""
NEVER = 1 << 40
"""Tokens of a text that is not there: no row has room."""


@dataclass(frozen=True)
class Units:
    """Units of a block of steps, a row of each array for a unit."""

    step: np.ndarray
    """int64: counted from the block's first."""
    kind: np.ndarray
    """int64: place in KINDS."""
    picture: np.ndarray
    """int64: index into the corpus, -1 for a text alone."""
    texts: np.ndarray
    """int64 `[units, most]`: indices into the corpus, -1 where there are fewer."""
    captioned: np.ndarray
    """bool: whether the text of a picture to be drawn is told."""
    row: np.ndarray
    """int64: row of the step's batch; -1 before they are packed."""
    view: np.ndarray
    """int64: which view of a picture that is read; 0 is the picture itself."""

    def take(self, chosen: np.ndarray) -> Units:
        """Some of them, in that order."""
        return Units(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True)
class Supply:
    """What units are drawn from: for each kind the things to walk through, and weights and lengths of texts."""

    corpus: Corpus
    config: BatchConfig
    codes: int
    """Codes of a picture."""
    weights: np.ndarray
    """float64 `[kinds, texts]`."""
    lengths: np.ndarray
    """int64 `[kinds, texts]`: tokens of a unit with this text; of a picture that is read, the text's branch alone."""
    pools: tuple[np.ndarray, ...]
    """Pictures or texts of each kind, and the pictures with short texts."""
    views: np.ndarray | None = None
    """int32 `[views - 1, pictures, codes]`: codes of the further views of each picture, if it has any."""

    def base(self, units: Units) -> np.ndarray:
        """Tokens of each unit with its first text."""
        trunk = np.where(units.kind == READ, self.codes + 2, 0)
        free = (units.kind == DRAW) & ~units.captioned
        return np.where(free, self.codes + 3, trunk + self.lengths[units.kind, units.texts[:, 0]])


def draw(supply: Supply, seed: int, block: int, rates: np.ndarray, short_until: int) -> Units:
    """The units of a block of steps: a step's quota of each kind is the difference of two rounded-down products."""
    rng = philox(seed, 0, block)
    kinds = np.flatnonzero(rates).tolist() or [READ]
    found = [_of_kind(supply, seed, block, kind, rates[kind], short_until, rng) for kind in kinds]
    joined = (np.concatenate([getattr(one, field.name) for one in found]) for field in fields(Units))
    return Units(*joined)


def _of_kind(
    supply: Supply, seed: int, block: int, kind: int, rate: float, short_until: int, rng: np.random.Generator
) -> Units:
    bounds = np.floor(np.arange(block * BLOCK, (block + 1) * BLOCK + 1) * rate).astype(np.int64)
    step = np.repeat(np.arange(BLOCK), np.diff(bounds))
    position = np.arange(bounds[0], bounds[-1])
    short = (kind == READ) & (block * BLOCK + step < short_until)
    item = np.empty(len(position), np.int64)
    for chosen, stream in ((~short, kind), (short, len(KINDS))):
        item[chosen] = _walked(supply.pools[stream], seed, stream, position[chosen])
    most = supply.config.texts_per_picture
    texts = np.full((len(item), most), -1, np.int64)
    captioned = np.ones(len(item), bool)
    if kind == TEXT:
        texts[:, 0] = item = _weighted(supply, seed, position)
    else:
        _race(supply, kind, item, texts[:, : 1 if kind == DRAW else most], rng)
    if kind == DRAW:
        captioned = rng.random(len(item)) >= supply.config.caption_dropout
    picture = np.full(len(item), -1) if kind == TEXT else item
    view = np.zeros(len(item), np.int64)
    if kind == READ and supply.views is not None:  # another one in every epoch
        lengths = np.where(short, len(supply.pools[len(KINDS)]), len(supply.pools[READ]))
        view = position // np.maximum(lengths, 1) % (len(supply.views) + 1)
    return Units(step, np.full(len(item), kind), picture, texts, captioned, np.full(len(item), -1), view)


def _walked(pool: np.ndarray, seed: int, stream: int, position: np.ndarray) -> np.ndarray:
    """What a walk through a pool meets at these positions, which ascend."""
    if not len(position):
        return position
    epoch, place = np.divmod(position, len(pool))
    found = np.empty(len(position), np.int64)
    for one in range(epoch[0], epoch[-1] + 1):
        now = epoch == one
        found[now] = pool[permutation(seed, stream, one, len(pool))[place[now]]]
    return found


def _weighted(supply: Supply, seed: int, position: np.ndarray) -> np.ndarray:
    """What a walk through the texts alone meets at these positions. Of an epoch as long as the pool, every text has its share
    by weight, rounded up or down (systematic sampling): once each where all weigh the same."""
    pool = supply.pools[TEXT]
    weight = supply.weights[TEXT, pool]
    if not len(position) or weight.min() == weight.max():
        return _walked(pool, seed, TEXT, position)
    epoch, place = np.divmod(position, len(pool))
    found = np.empty(len(position), np.int64)
    for one in range(epoch[0], epoch[-1] + 1):
        now = epoch == one
        order = permutation(
            seed, LINE, one, len(pool)
        )  # in a line of no meaning: neighbours share their luck
        reach = np.cumsum(weight[order]) * (len(pool) / weight.sum())
        turns = permutation(seed, TEXT, one, len(pool))[place[now]] + philox(seed, START, one).random()
        found[now] = pool[order[np.minimum(np.searchsorted(reach, turns, side="right"), len(pool) - 1)]]
    return found


def _race(
    supply: Supply, kind: int, picture: np.ndarray, texts: np.ndarray, rng: np.random.Generator
) -> None:
    """Fills `texts` with those of each picture that come first in a race: the smallest of exponential draws divided by
    weights are a weighted choice without replacement."""
    first, last = supply.corpus.starts[picture], supply.corpus.starts[picture + 1]
    owner = np.repeat(np.arange(len(picture)), last - first)
    text = supply.corpus.order[spread(first, last - first)]
    weight = supply.weights[kind, text]
    race = rng.exponential(size=len(text)) / np.maximum(weight, 1e-30)
    race[~(weight > 0)] = np.inf  # these lose every race
    begins = np.cumsum(last - first) - (last - first)
    for place in range(texts.shape[1] if len(text) else 0):
        ahead = np.minimum.reduceat(race, begins)[owner]
        won = np.flatnonzero((race == ahead) & (ahead < np.inf))
        won = won[np.flatnonzero(np.diff(owner[won], prepend=-1))]  # of two that are level the first one
        texts[owner[won], place] = text[won]
        race[won] = np.inf


def pack(supply: Supply, units: Units) -> Units:
    """Longest first into the row with most room, a picture with one text; more texts while there is room. What does not fit
    is left out. They come ordered by step and row."""
    base = supply.base(units)
    order = np.argsort(units.step * NEVER - base, kind="stable")
    units, base = units.take(order), base[order]
    row, size = [-1] * len(base), base.tolist()
    bounds = np.searchsorted(units.step, np.arange(BLOCK + 1)).tolist()
    for first, last in pairwise(bounds):
        _place(supply.config, size, row, range(first, last))
    rows = np.array(row, np.int64)
    units.texts[:, 1:][~_told(supply, units, rows, base)] = -1
    placed = np.flatnonzero(rows >= 0)
    units = Units(**{**vars(units), "row": rows})
    where = units.step[placed] * supply.config.rows + rows[placed]
    return units.take(placed[np.argsort(where, kind="stable")])


def _place(config: BatchConfig, size: list[int], row: list[int], units: range) -> None:
    """Finds rows for the units of one step, of which there may be fifty: plain numbers are quicker here than arrays."""
    empty = units[: config.rows] if units and size[units[0]] <= config.row_length else units[:0]
    free = [(-config.row_length, r) for r in range(len(empty), config.rows)]
    for r, unit in enumerate(empty):  # none has less room than an empty row: the longest ones take one each
        free.append((size[unit] - config.row_length, r))
        row[unit] = r
    heapify(free)
    for unit in units[len(empty) :]:
        room, r = free[0]
        if size[unit] <= -room:
            heapreplace(free, (room + size[unit], r))
            row[unit] = r


def _told(supply: Supply, units: Units, rows: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Which of the further texts of units have room in their rows: bool `[units, most - 1]`. Every unit of a row has its turn
    before one has a second text more."""
    extra = units.texts[:, 1:]
    tokens = np.where(extra >= 0, supply.lengths[READ, extra], NEVER)
    told = np.zeros(extra.shape, bool)
    placed = np.flatnonzero(rows >= 0)
    where = units.step * supply.config.rows + rows
    left = np.full(BLOCK * supply.config.rows, supply.config.row_length)
    np.subtract.at(left, where[placed], base[placed])
    wanting = placed[(extra[placed] >= 0).any(1)]
    order = wanting[np.argsort(where[wanting], kind="stable")]
    turn = np.arange(len(order)) - np.searchsorted(where[order], where[order])
    queue = [order[turn == one] for one in range(int(turn.max(initial=-1)) + 1)]  # of each row one at once
    for text in range(extra.shape[1]):
        for asking in queue:
            fits = asking[tokens[asking, text] <= left[where[asking]]]
            left[where[fits]] -= tokens[fits, text]
            told[fits, text] = True
    return told


def spread(first: np.ndarray, number: np.ndarray) -> np.ndarray:
    """first, first + 1 … so many numbers for each: int64."""
    ends = np.cumsum(number)
    return np.repeat(first - ends + number, number) + np.arange(ends[-1] if len(ends) else 0)


def philox(seed: int, purpose: int, counter: int) -> np.random.Generator:
    """Randomness that depends on these three alone: purpose 0 is the units of a block, 1 + kind an epoch's order."""
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, counter, 0]))


@lru_cache(maxsize=16)
def permutation(seed: int, kind: int, epoch: int, n: int) -> np.ndarray:
    """The order in which an epoch walks through n things of a kind."""
    return philox(seed, 1 + kind, epoch).permutation(n)
