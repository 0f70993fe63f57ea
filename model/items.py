"""Pictures and texts that stand alone, one a row: what the objectives beside next-token prediction look at.

A picture is `<boi> codes <eoi>`. A text that tells of a picture is what precedes the picture when it is drawn; any
other is a text as it is trained on. Which items a step has depends on (seed, step, corpus) alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from model.batches import Batch
from model.corpus import Corpus
from model.plan import permutation
from model.rows import Rows
from model.sequences import Sequences

ROUND = 8
"""Rows are as long as the longest item, rounded up to a multiple of this."""


@dataclass(frozen=True)
class Items:
    """Some items with what an objective wants of each."""

    batch: Batch
    wanted: Mapping[str, Tensor]
    """A row for each item."""
    total: int
    """Items of the step, of which these may be a share."""
    common: Mapping[str, Tensor] = field(default_factory=dict)
    """What all shares see whole."""

    def shares(self, number: int) -> list[Items | None]:
        """The items cut into so many runs of rows, None where there are too few."""
        parts = self.batch.shares(number)
        cut = {name: column.chunk(number) for name, column in self.wanted.items()}
        made: list[Items | None] = [
            Items(part, {name: columns[i] for name, columns in cut.items()}, self.total, self.common)
            for i, part in enumerate(parts)
        ]
        return made + [None] * (number - len(made))


@dataclass(frozen=True)
class Pool:
    """Pictures (by index into the corpus) and texts (by -1 - index) that an objective draws from."""

    members: np.ndarray
    stream: int
    """Its number among all that walk through the corpus."""

    def draw(self, seed: int, step: int, number: int) -> np.ndarray:
        """The next members: each comes once before any comes again."""
        n = len(self.members)
        places = [divmod(at, n) for at in range(step * number, (step + 1) * number)]
        return np.array([self.members[permutation(seed, self.stream, e, n)[p]] for e, p in places])


def laid_out(
    corpus: Corpus, sequences: Sequences, members: Sequence[int] | np.ndarray, longest: int
) -> Batch:
    """The members of a pool as rows of tokens; texts end after `longest`."""
    paths = [path(corpus, sequences, int(member), longest) for member in members]
    return lined_up(sequences, paths, [member >= 0 for member in members])


def lined_up(sequences: Sequences, paths: Sequence[list[int]], pictured: Sequence[bool]) -> Batch:
    """Paths as rows of tokens, of which some are a picture alone."""
    rows = Rows(len(paths), -(-max(map(len, paths)) // ROUND) * ROUND, sequences)
    for row, (ids, whole) in enumerate(zip(paths, pictured, strict=True)):
        run = rows.add(row, ids, 0, 0, 0, (0, 0))
        if whole and sequences.config.see_whole_picture:
            rows.columns["blocks"][row, run.start + 1 : run.stop - 1] = 1
    return rows.batch()


def path(corpus: Corpus, sequences: Sequences, member: int, longest: int) -> list[int]:
    """The ids of a picture or text."""
    if member >= 0:
        return sequences.picture(corpus.codes[member])
    i = -1 - member
    lang, text = corpus.langs[corpus.lang[i]], corpus.text(i)
    if corpus.picture[i] >= 0:
        wish = sequences.wish(lang, text)
        return [*wish[:-1][: longest - 1], wish[-1]]
    asked = sequences.text(lang, corpus.tasks[corpus.task[i]], corpus.prompt(i))
    answer = sequences.answer(text)
    return [*[*asked, *answer[:-1]][: longest - 1], answer[-1]]


def names(corpus: Corpus, members: np.ndarray) -> list[str]:
    """The sample that each member is known by."""
    return [(corpus.shown_by[m] if m >= 0 else corpus.sample_ids[-1 - m]).decode() for m in members.tolist()]


def own(batch: Batch) -> Tensor:
    """Which tokens are the items': bool `[rows, length]`."""
    return batch.units >= 0


def labels(corpus: Corpus, members: np.ndarray) -> np.ndarray:
    """Class of each member, -1 for none: int64."""
    picture, text = corpus.picture_label, corpus.text_label
    found = np.empty(len(members), np.int64)
    pictured = members >= 0
    found[pictured] = picture[members[pictured]]
    found[~pictured] = text[-1 - members[~pictured]]
    return found


def everything(corpus: Corpus) -> np.ndarray:
    """All pictures, and all texts without one."""
    alone = np.flatnonzero(corpus.picture < 0)
    return np.concatenate([np.arange(len(corpus.codes)), -1 - alone])


def as_rows(values: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """NumPy columns as tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()}
