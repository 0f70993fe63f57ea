"""Paths of tokens over a cache, one a row: prompts are read at once, then every row goes on token by token.

For classifier-free guidance each row has a twin that has read nothing but `<bos>`: while the row draws a picture, the
twin reads the same codes, and its logits say what is likely whatever was wished for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.decode import Decoder, Head
from model.sampling import guide
from model.sequences import Cursor, Sequences
from model.tokens import Cache, Tokens
from model.transformer import Transformer


class Paths:
    """Rows of tokens that have been read, and where each stands.

    Args:
        length: most tokens of a row.
        trunks, trunk_of: what is read first, once for all rows that follow it.
        guidance, without: weight of the wish, and what the twins read, `<boi>` at its end; None for no guidance.
        decoder: the network made ready before, if it was.
    """

    def __init__(
        self,
        network: Transformer,
        sequences: Sequences,
        rows: int,
        length: int,
        *,
        trunks: Sequence[Sequence[int]] = (),
        trunk_of: Sequence[int] | None = None,
        guidance: float = 1.0,
        without: Sequence[int] | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        self.network, self.sequences, self.guidance = network, sequences, guidance
        self.decoder, self.drawing = decoder or Decoder(network), network.config.modality("image")
        self.rows, self.guided = rows, without is not None
        twins = rows if self.guided else 0
        started, device = len(trunks) or rows + twins, network.offsets.device
        self.cache = Cache(network.config, started, length, device=device, dtype=network.dtype)
        self.cursors = [sequences.cursor() for _ in range(started)]
        if trunks:
            self._read(self.cache, self.cursors, trunks)
            self._take([*(trunk_of if trunk_of is not None else range(rows)), *[0] * twins])
        self.cache.lengths[rows:] = 0
        self.free = sequences.cursor()
        if without is not None and len(without) > 1:
            self._read(self.cache.part(rows, rows + 1), [self.free], [without[:-1]])
            self.cache.pairs[:, :, rows:] = self.cache.pairs[:, :, rows : rows + 1]
        self.read_by_twins = len(without or [0]) - 1
        self.lengths = self.cache.lengths.tolist()

    def read(self, prompts: Sequence[Sequence[int]]) -> list[Head]:
        """Reads at least one token in each row; logits after the last one of each."""
        n = self.rows
        logits = self._read(self.cache.part(0, n), self.cursors[:n], prompts)
        self.lengths[:n] = self.cache.lengths[:n].tolist()
        draws, found = [cursor.drawing for cursor in self.cursors[:n]], []
        for modality in (0, self.drawing):
            rows = [r for r, draws_now in enumerate(draws) if draws_now == (modality == self.drawing)]
            if rows:
                low, high = self.network.config.offsets[modality : modality + 2]
                found.append(Head(modality, rows, logits[rows, low:high]))
        if not self.guided or not any(draws):
            return found
        begin = self.sequences.vocabulary["<boi>"]
        located = [self._twin(r).step(begin) for r in range(n)]
        heads = [self.drawing if draws_now else -1 for draws_now in draws]
        (free,) = self.decoder.step(
            self.cache, [begin] * n, located, [self.read_by_twins] * n, heads, first=n
        )
        self.lengths[n:] = [self.read_by_twins + 1] * n
        wished = found[-1]
        return [
            *found[:-1],
            Head(wished.modality, wished.rows, guide(wished.logits, free.logits, self.guidance)),
        ]

    def step(self, ids: Sequence[int | None]) -> list[Head]:
        """Reads one token in each row, none in those that have ended; logits after it."""
        n, begin = self.rows, self.sequences.vocabulary["<boi>"]
        on = [r for r in range(n) if ids[r] is not None]
        fed, located, heads = [0] * n, [(0, 0, 0)] * n, [-1] * n
        for r in on:
            fed[r] = token = ids[r] or 0
            located[r] = self.cursors[r].step(token)
            heads[r] = self.drawing if self.cursors[r].drawing else 0
        for r in set(range(n)).difference(
            on
        ):  # it reads what another row reads, and what it says is not asked
            fed[r], located[r] = fed[on[0]], located[on[0]]
        draws = [r for r in on if heads[r] == self.drawing] if self.guided else []
        if draws:
            heads += [self.drawing if r in draws else -1 for r in range(n)]
            located += located
            for r in draws:
                located[n + r] = (self._twin(r) if fed[r] == begin else self.cursors[n + r]).step(fed[r])
            fed += fed
        found = self.decoder.step(self.cache, fed, located, self.lengths[: len(fed)], heads)
        for r in [*on, *(n + r for r in draws)]:
            self.lengths[r] += 1
        return [self._guided(head) if draws and head.modality == self.drawing else head for head in found]

    def select(self, rows: Sequence[int]) -> None:
        """Goes on with these rows alone."""
        self._take([*rows, *(self.rows + r for r in rows if self.guided)])
        self.rows = len(rows)

    def _take(self, rows: Sequence[int]) -> None:
        """Rows of the cache, twins among them; one may be taken several times."""
        self.cache.select(torch.tensor(rows, device=self.cache.keys.device))
        self.cursors = [self.cursors[r].copy() for r in rows]
        self.lengths = [self.lengths[r] for r in rows] if hasattr(self, "lengths") else []

    def _twin(self, row: int) -> Cursor:
        """The cursor of a row's twin, set back to where a picture is opened."""
        self.lengths[self.rows + row] = self.read_by_twins
        self.cursors[self.rows + row] = self.free.copy()
        return self.cursors[self.rows + row]

    def _guided(self, head: Head) -> Head:
        """From the logits of rows and of their twins those that are drawn from."""
        half = len(head.rows) // 2
        logits = guide(head.logits[:half], head.logits[half:], self.guidance)
        return Head(head.modality, head.rows[:half], logits)

    def _read(self, cache: Cache, cursors: Sequence[Cursor], ids: Sequence[Sequence[int]]) -> Tensor:
        """Logits `[rows, ids]` after the last token of each row, which goes on from where its cursor stands."""
        length, config = max(map(len, ids)), self.network.config
        shape = (len(ids), length)
        tokens, blocks = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        located = np.zeros((*shape, 3), np.int64)
        for r, (row, cursor) in enumerate(zip(ids, cursors, strict=True)):
            tokens[r, : len(row)] = row
            located[r, : len(row)] = [cursor.step(i) for i in row]
            if config.see_whole_picture and len(row) > 1:
                blocks[r, : len(row)] = self.sequences.blocks(row)
        lengths = torch.tensor([len(row) for row in ids])
        at = torch.arange(len(ids)) * length + lengths - 1
        t, b, p = (torch.from_numpy(z).to(cache.keys.device) for z in (tokens, blocks, located))
        mask = cache.mask(b) if blocks.any() else None
        logits = self.network(Tokens(t, p[..., :2], p[..., 2], mask, b), cache, at.to(t.device))
        cache.lengths += lengths.to(t.device)
        return logits
