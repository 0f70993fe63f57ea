"""Rows of tokens under way over one cache, of which any may come in and go at any step: continuous batching.

`model.paths` reads the prompts of newcomers; their keys and values are then copied to the first free places, and an ended
row's place is taken by the last one. With guidance every row has its twin beside it (see `model.paths`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import torch

from model.decode import Decoder, Head
from model.generate import Model
from model.paths import Paths
from model.sampling import choose, guide
from model.sequences import Cursor
from model.serving.making import Making
from model.tokens import Cache

SHORTEST = 256
"""Tokens that a place has room for at first; it doubles when a row needs more."""


class Slots:
    """Rows of one model, guided or not. One thread uses it, in inference mode."""

    def __init__(self, model: Model, places: int, *, guided: bool) -> None:
        self.model, self.places, self.each = model, places, 2 if guided else 1
        self.decoder = Decoder(model.network)
        self.drawing = model.network.config.modality("image")
        self.rows: list[Making] = []
        self.cursors: list[Cursor] = []
        self.lengths: list[int] = []
        self.cache: Cache | None = None
        self.free = model.sequences.wish()
        begun = model.sequences.cursor()
        for token in self.free[:-1]:
            begun.step(token)
        self.begun = begun
        """Where a twin stands before a picture is opened."""

    def take_in(self, rows: Sequence[Making], prompts: Sequence[Sequence[int]]) -> None:
        """Reads prompts and chooses the first token of each. There must be places, and with guidance the weights equal."""
        n, s, network = len(rows), self.model.sequences, self.model.network
        guided = self.each == 2
        paths = Paths(
            network,
            s,
            n,
            max(map(len, prompts)) + 1,
            guidance=rows[0].sampling.guidance if guided else 1.0,
            without=self.free if guided else None,
            decoder=self.decoder,
        )
        heads = paths.read(prompts)
        first = len(self.rows)
        cache = self._room((first + n) * self.each, max(paths.lengths) + 1)
        for r in range(n):
            for twin in range(self.each):
                source, place, long = r + twin * n, len(self.lengths), paths.lengths[r + twin * n]
                cache.pairs[:, :, place, :, :long] = paths.cache.pairs[:, :, source, :, :long]
                cache.ids[place, :long] = paths.cache.ids[source, :long]
                self.lengths.append(long)
                self.cursors.append(paths.cursors[source])
        self.rows += rows
        self._choose(Head(h.modality, [first + r for r in h.rows], h.logits) for h in heads)

    def step(self) -> None:
        """Reads the last token of every row and chooses the next."""
        begin = self.model.sequences.vocabulary["<boi>"]
        fed, located, heads, moved = [], [], [], []
        for r, row in enumerate(self.rows):
            own = r * self.each
            where = self.cursors[own].step(row.last)
            draws = self.cursors[own].drawing
            fed.append(row.last)
            located.append(where)
            heads.append(self.drawing if draws else 0)
            moved.append(own)
            if self.each == 2:
                twin = own + 1
                if row.last == begin:
                    self.lengths[twin], self.cursors[twin] = len(self.free) - 1, self.begun.copy()
                fed.append(row.last)
                located.append(self.cursors[twin].step(row.last) if draws else where)
                heads.append(self.drawing if draws else -1)
                if draws:
                    moved.append(twin)
        cache = self._room(len(fed), max(self.lengths) + 1)
        found = self.decoder.step(cache, fed, located, self.lengths, heads)
        for place in moved:
            self.lengths[place] += 1
        self._choose(map(self._own, found))

    def let_go(self, gone: Iterable[int]) -> None:
        """Takes rows out; the last one moves to each free place."""
        for r in sorted(gone, reverse=True):
            last = len(self.rows) - 1
            self.rows[r] = self.rows[last]
            self.rows.pop()
            for twin in range(self.each):
                here, there = r * self.each + twin, last * self.each + twin
                self._move(there, here)
                self.lengths[here], self.cursors[here] = self.lengths[there], self.cursors[there]
            del self.lengths[last * self.each :], self.cursors[last * self.each :]
        if not self.rows and self.cache is not None and self.cache.ids.shape[1] > SHORTEST:
            self.cache = None  # what one long row needed is not kept for ever

    def _move(self, there: int, here: int) -> None:
        if here != there and self.cache is not None:
            long = self.lengths[there]
            self.cache.pairs[:, :, here, :, :long] = self.cache.pairs[:, :, there, :, :long]
            self.cache.ids[here, :long] = self.cache.ids[there, :long]

    def _room(self, rows: int, length: int) -> Cache:
        """The cache, with room for so many tokens a row."""
        old = self.cache
        if old is not None and length <= old.ids.shape[1] and rows <= old.ids.shape[0]:
            return old
        long = SHORTEST
        while long < length:
            long *= 2
        network = self.model.network
        places = self.places * self.each
        made = Cache(network.config, places, long, device=self.model.device, dtype=network.dtype)
        if old is not None:
            made.pairs[..., : old.ids.shape[1], :] = old.pairs
            made.ids[:, : old.ids.shape[1]] = old.ids
        self.cache = made
        return made

    def _own(self, head: Head) -> Head:
        """Logits by row, not by place; from a row's and its twin's those that are drawn from."""
        if self.each == 1:
            return head
        if head.modality != self.drawing:
            return Head(head.modality, [place // 2 for place in head.rows], head.logits)
        rows = [place // 2 for place in head.rows[::2]]
        weights = torch.tensor([self.rows[r].sampling.guidance for r in rows])[:, None]
        return Head(head.modality, rows, guide(head.logits[::2], head.logits[1::2], weights.to(head.logits)))

    def _choose(self, heads: Iterable[Head]) -> None:
        """The next token of each row: what must come, or the likeliest, or one that is drawn."""
        s = self.model.sequences
        for head in heads:
            low = self.model.network.config.offsets[head.modality]
            if head.modality == 0:
                texts = [i for i, r in enumerate(head.rows) if self.rows[r].sampling.modalities == "text"]
                head.logits[texts, s.vocabulary["<boi>"]] = float("-inf")
            for sampling, members in _alike([self.rows[r] for r in head.rows]):
                drawn = None
                rows = [head.rows[i] for i in members]
                if sampling.temperature:
                    drawn = torch.tensor([self.rows[r].draws.random() for r in rows])
                logits = head.logits if len(rows) == len(head.rows) else head.logits[members]
                for r, token in zip(rows, choose(logits, sampling, drawn), strict=True):
                    self.rows[r].last, self.rows[r].fresh = token + low, True
            for r in head.rows:
                if (forced := self._forced(self.rows[r], self.cursors[r * self.each])) is not None:
                    self.rows[r].last = forced

    def _forced(self, row: Making, cursor: Cursor) -> int | None:
        if row.sampling.modalities == "image" and row.turn == 0 and not cursor.drawing:
            return self.model.sequences.vocabulary["<boi>"]
        return self.model.sequences.forced(cursor)


def _alike(rows: Sequence[Making]) -> list[tuple]:
    """Rows whose tokens are chosen in the same way, by index, with that way."""

    def way(i: int) -> tuple[float, int, float]:
        asked = rows[i].sampling
        return (asked.temperature, asked.top_k or 0, asked.top_p)

    return [
        (rows[members[0]].sampling, members)
        for _, found in groupby(sorted(range(len(rows)), key=way), key=way)
        for members in [list(found)]
    ]
