"""Packed units as arrays of tokens, those of many rows at once: `model.sequences` says what a sequence looks like.

A row holds runs of tokens: of a picture that is read its trunk, then a branch for each of its texts; of any other unit one run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model.plan import DRAW, READ, Supply, Units, spread
from model.sequences import Sequences

NOTHING = {"places": 0, "units": -1, "branches": 0, "blocks": 0, "targets": -1}
"""What columns hold where no token is."""


@dataclass(frozen=True)
class Runs:
    """Runs in the order in which they lie in the rows, a row of each array for a run: int64."""

    unit: np.ndarray
    """Index of its unit."""
    kind: np.ndarray
    trunk: np.ndarray
    """bool: the picture of a unit that is read."""
    text: np.ndarray
    """Index into the corpus, -1 for none that is told."""
    branch: np.ndarray
    length: np.ndarray
    start: np.ndarray
    """Where it starts among the places of all rows."""


@dataclass(frozen=True)
class Gaps:
    """How many places runs take, and what lies before each of them and behind the last one: int64 `[2 * runs + 1]`."""

    lengths: np.ndarray

    @classmethod
    def between(cls, runs: Runs, places: int) -> Gaps:
        lengths = np.empty(2 * len(runs.start) + 1, np.int64)
        ends = np.concatenate([[0], runs.start + runs.length])
        lengths[1::2] = runs.length
        lengths[::2] = np.concatenate([runs.start, [places]]) - ends
        return cls(lengths)

    def fill(self, values: np.ndarray, blank: int) -> np.ndarray:
        """A column in which each run's places hold its value, and the others `blank`."""
        each = np.full(len(self.lengths), blank, np.int32)
        each[1::2] = values
        return np.repeat(each, self.lengths)


@dataclass(frozen=True)
class Layout:
    """Lays units out in rows."""

    supply: Supply
    sequences: Sequences
    see_whole_picture: bool

    def lay_out(self, units: Units, rows: int) -> dict[str, np.ndarray]:
        """Columns of a Batch, int32 `[rows, row_length]` (`positions` has two coordinates, which lie apart in memory), of
        packed units; `row` counts through all rows."""
        length = self.supply.config.row_length
        number = np.arange(len(units.row)) - np.searchsorted(units.row, units.row)
        runs = self._runs(units, length)
        blank = {**NOTHING, "ids": self.sequences.vocabulary["<pad>"]}
        total = rows * length
        # Whole columns are repeated run by run: to write to places costs four times as much.
        along = Gaps.between(runs, total)
        filled = {
            "units": along.fill(number[runs.unit], -1),
            "branches": along.fill(runs.branch, 0),
            "positions": np.empty((2, total), np.int32),
            **{
                name: np.full(total, blank[name], np.int32) for name in ("ids", "places", "blocks", "targets")
            },
        }
        begins = np.where(runs.branch > 0, self.sequences.after_picture, 0)
        path = np.arange(total, dtype=np.int32) - along.fill(runs.start - begins, 0)
        filled["positions"][:] = path * along.fill(np.ones_like(begins), 0)
        shows = runs.trunk | (runs.kind == DRAW)
        words = runs.length - np.where(shows, self.supply.codes + 2, 0)
        self._lay_texts(filled["ids"], runs)
        if len(shown := np.flatnonzero(shows)):
            at, unit = runs.start[shown] + words[shown], runs.unit[shown]
            codes = self._codes(units.picture[unit], units.view[unit])
            self._lay_pictures(filled, at, words[shown], codes, number[unit], runs.trunk[shown])
        self._lay_targets(filled, runs, units.captioned[runs.unit])
        if len(empty := self._empty(runs, units.picture[runs.unit])):
            where = spread(runs.start[empty], runs.length[empty])
            for name, value in blank.items():
                filled[name][where] = value
            filled["positions"][:, where] = 0
        positions = np.moveaxis(filled.pop("positions").reshape(2, rows, length), 0, -1)
        return {name: column.reshape(rows, length) for name, column in filled.items()} | {
            "positions": positions
        }

    def _empty(self, runs: Runs, picture: np.ndarray) -> np.ndarray:
        """Runs of which something was forgotten: as padding they take its place, and are neither read nor learned."""
        corpus = self.supply.corpus
        if not (corpus.gone.any() or corpus.gone_picture.any()):
            return np.empty(0, np.int64)
        gone = np.zeros(len(runs.text), bool)
        for found, index in ((corpus.gone, runs.text), (corpus.gone_picture, picture)):
            gone[index >= 0] |= found[index[index >= 0]]
        return np.flatnonzero(gone)

    def _runs(self, units: Units, length: int) -> Runs:
        supply, read = self.supply, units.kind == READ
        told = units.texts >= 0
        told[:, 0] = True
        counts = told.sum(1) + read
        unit = np.repeat(np.arange(len(counts)), counts)
        branch = spread(np.zeros(len(counts), np.int64), counts)
        kind = units.kind[unit]
        trunk = (kind == READ) & (branch == 0)
        text = np.full(len(unit), -1)
        text[~trunk] = units.texts[told]
        long = np.where(trunk, supply.codes + 2, supply.lengths[kind, text])
        free = (kind == DRAW) & ~units.captioned[unit]
        long[free], text[free] = supply.codes + 3, -1
        row, before = units.row[unit], np.cumsum(long) - long
        start = row * length + before - before[np.searchsorted(row, row)]
        return Runs(unit, kind, trunk, text, branch, long, start)

    def _lay_texts(self, ids: np.ndarray, runs: Runs) -> None:
        """Every text with what stands before and after it, and what precedes a picture to be drawn."""
        corpus, known = self.supply.corpus, self.sequences.vocabulary
        ids[runs.start[(runs.kind != READ)]] = known["<bos>"]
        spoken = np.flatnonzero(runs.text >= 0)
        kind, text = runs.kind[spoken], runs.text[spoken]
        at = runs.start[spoken] + (kind != READ)
        for tags, of, wanted in (
            (self._lang_tags, corpus.lang, np.ones_like(kind, bool)),
            (self._task_tags, corpus.task, kind != DRAW),
        ):
            tag = tags[of[text]]
            tagged = (tag >= 0) & wanted
            ids[at[tagged]] = tag[tagged]
            at = at + tagged
        asked = kind != DRAW
        long = np.where(asked, corpus.prompt_ends[text + 1] - corpus.prompt_ends[text], 0)
        move(corpus.prompts, corpus.prompt_ends[text], ids, at, long)
        at = at + long
        ids[at[asked]] = known["<sep>"]
        at = at + asked
        long = corpus.ends[text + 1] - corpus.ends[text]
        move(corpus.ids, corpus.ends[text], ids, at, long)
        ids[(at + long)[asked]] = known["<eos>"]

    def _lay_pictures(
        self,
        filled: dict[str, np.ndarray],
        at: np.ndarray,
        begin: np.ndarray,
        shown: np.ndarray,
        number: np.ndarray,
        read: np.ndarray,
    ) -> None:
        """Pictures: <boi> at a place and a position, the codes `shown`, <eoi>; `number` of their units, and which of them are
        only read."""
        codes, sequences, known = self.supply.codes, self.sequences, self.sequences.vocabulary
        ids = np.empty((len(at), codes + 2), np.int32)
        ids[:, 0], ids[:, -1] = known["<boi>"], known["<eoi>"]
        low = sequences.config.offsets[sequences.config.modality("image")]
        np.add(shown, low, out=ids[:, 1:-1])
        windows(filled["ids"], codes + 2)[at] = ids
        windows(filled["places"], codes)[at + 1] = np.arange(codes, dtype=np.int32)
        begin = begin.astype(np.int32)
        for plane, coordinate in zip(filled["positions"], self._beside, strict=True):
            windows(plane, codes + 2)[at] = coordinate + begin[:, None]
        if self.see_whole_picture:
            windows(filled["blocks"], codes)[at[read] + 1] = number[read, None] + 1

    @cached_property
    def _beside(self) -> np.ndarray:
        """How far a picture's tokens lie from where it begins: int32 `[2, codes + 2]`."""
        sequences = self.sequences
        inner = np.concatenate([[[-1, -1]], sequences.coordinates, [[sequences.extent] * 2]])
        return inner.T.astype(np.int32) + 1

    def _codes(self, picture: np.ndarray, view: np.ndarray) -> np.ndarray:
        """Codes of pictures, each in one of its views: int32 `[pictures, codes]`."""
        found = self.supply.corpus.codes[picture]
        if self.supply.views is not None:
            other = view > 0
            found[other] = self.supply.views[view[other] - 1, picture[other]]
        return found

    def _lay_targets(self, filled: dict[str, np.ndarray], runs: Runs, captioned: np.ndarray) -> None:
        """The next id wherever it is to be learned: answers, drawn codes, and what else the configuration asks for."""
        config, corpus, codes = self.supply.config, self.supply.corpus, self.supply.codes
        long = np.where(runs.text >= 0, corpus.ends[runs.text + 1] - corpus.ends[runs.text], 0)
        wish = runs.length - codes - 2
        first = runs.length - long - 2  # <sep>, from which an answer is predicted
        last = runs.length - 1
        if config.text_loss_when_drawing:
            first = np.where(runs.kind == DRAW, np.where(captioned, wish - long - 1, wish), first)
        else:
            first = np.where(runs.kind == DRAW, wish, first)
        last = np.where(runs.kind == DRAW, wish + codes, last)
        first = np.where(runs.trunk, 0, first)
        last = np.where(runs.trunk, codes if config.image_loss_when_reading else 0, last)
        where = spread(runs.start + first, last - first)
        filled["targets"][where] = filled["ids"][where + 1]

    @cached_property
    def _lang_tags(self) -> np.ndarray:
        """Id of each language's tag, -1 if the tokenizer has none."""
        return self._tags("lang", self.supply.corpus.langs)

    @cached_property
    def _task_tags(self) -> np.ndarray:
        return self._tags("task", self.supply.corpus.tasks)

    def _tags(self, kind: str, names: tuple[str, ...]) -> np.ndarray:
        return np.array(
            [self.sequences.vocabulary.specials.get(f"<{kind}:{name}>", -1) for name in names] or [-1]
        )


def move(
    source: np.ndarray, first: np.ndarray, target: np.ndarray, at: np.ndarray, number: np.ndarray
) -> None:
    """Copies stretches: so many values each from `first` on in one array to `at` on in another."""
    where = spread(at, number)
    target[where] = source[where + np.repeat(first - at, number)]


def windows(column: np.ndarray, width: int) -> np.ndarray:
    """What lies in a column from each place on, so many values, to be written to: stretches are copied as a whole."""
    shape = (len(column) - width + 1, width)
    return np.ndarray(
        shape, column.dtype, column, strides=column.strides * 2
    )  # NumPy's own takes ten times as long
