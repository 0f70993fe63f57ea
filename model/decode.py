"""One more token in every row: what `Transformer.forward` does, without what only longer calls need.

A step of a small network takes as long as its operations are many. Here rows of one modality need no sorting,
weights are made ready once, keys and values are written where they stay, and only the head that is on is computed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import ModelConfig
from model.embedding import Embedding
from model.layers import Expert, Layer, Linear, Norm
from model.tokens import Cache
from model.transformer import Transformer


@dataclass(frozen=True)
class Head:
    """Logits `[rows, size]` (float32) of one modality's head, for the rows where it is on."""

    modality: int
    rows: list[int]
    logits: Tensor


class _Expert:
    """One modality's weights in one layer, matrices as they are multiplied by."""

    def __init__(self, expert: Expert, config: ModelConfig, dtype: torch.dtype) -> None:
        matrices = (z.weight.t() for z in (expert.qkv, expert.out, expert.up, expert.down))
        self.qkv, self.out, self.up, self.down = (z.detach().to(dtype) for z in matrices)
        norms = (expert.norm_attention, expert.norm_feed)
        self.before, self.after = (z.gain.detach().to(dtype) for z in norms)
        self.norm, self.width, self.gated = _norm(config), (config.width,), expert.gated

    def project(self, x: Tensor) -> Tensor:
        return torch.mm(self.norm(x, self.width, self.before), self.qkv)

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """The residual stream after the attention's output and the feed-forward layer, as `Expert.finish` makes it."""
        x = torch.addmm(x, mixed, self.out)
        h = torch.mm(self.norm(x, self.width, self.after), self.up)
        if self.gated:
            gate, h = torch.chunk(h, 2, -1)
            h = F.silu(gate) * h
        else:
            h = h.relu_()
            h = h.mul_(h)
        return torch.addmm(x, h, self.down)


class _Kind:
    """One modality's weights."""

    def __init__(self, network: Transformer, kind: int) -> None:
        config, dtype = network.config, network.dtype
        layers = [cast(Layer, layer) for layer in network.layers]
        experts = [cast(Expert, layer.experts[0 if config.dense else kind]) for layer in layers]
        self.layers = [_Expert(expert, config, dtype) for expert in experts]
        queries = torch.stack([expert.norm_q.gain for expert in experts]) * config.channels**-0.5
        keys = torch.stack([expert.norm_k.gain for expert in experts])
        shared = [
            queries[:, None].expand(-1, config.heads, -1),
            keys[:, None].expand(-1, config.kv_heads, -1),
        ]
        self.gains = torch.cat(shared, 1).detach()[:, None]
        """Of queries (attention's scale among them) and keys `[depth, 1, heads + kv_heads, channels]`."""
        a, b = self.gains.chunk(2, -1)
        self.crossed = torch.cat([-b, a], -1)
        """What goes with the sines: the same with the halves of the channels exchanged, the first one's sign changed."""
        self.embedding = cast(Embedding, network.embeddings[kind])
        self.table = self.embedding.table().detach()
        self.norm = cast(Norm, network.norms[kind]).gain.detach().to(dtype)
        self.head = cast(Linear, network.heads[kind]).weight.detach().to(dtype).t()

    def cosines(self, angles: Tensor) -> Tensor:
        return self.gains * angles.cos()

    def sines(self, angles: Tensor) -> Tensor:
        return self.crossed * angles.sin()


def _norm(config: ModelConfig) -> Callable[..., Tensor]:
    """As `Norm` normalises: `norm(x, shape, gain)`."""
    if config.norm == "layer":
        return lambda x, shape, gain=None: torch.layer_norm(x, shape, gain, None, 1e-6)
    return lambda x, shape, gain=None: torch.rms_norm(x, shape, gain, 1e-6)


@dataclass(frozen=True)
class _Sorted:
    """The rows of a step by modality."""

    kinds: list[int]
    counts: list[int]
    order: Tensor | None
    """Row of each sorted token; None where one modality is alone."""
    back: Tensor | None

    @classmethod
    def of(cls, kinds: Sequence[int], device: torch.device) -> _Sorted:
        present = sorted(set(kinds))
        if len(present) == 1:
            return cls(present, [len(kinds)], None, None)
        rows = sorted(range(len(kinds)), key=lambda row: kinds[row])
        order = torch.tensor(rows, device=device)
        return cls(present, [list(kinds).count(kind) for kind in present], order, torch.argsort(order))

    def each(self, works: Sequence[Callable[..., Tensor]], *tensors: Tensor, dim: int = 0) -> Tensor:
        """Each modality's own work on its part of sorted tensors, put together along `dim`."""
        if self.order is None:
            return works[0](*tensors)
        parts = zip(works, *(z.split(self.counts) for z in tensors), strict=True)
        return torch.cat([work(*part) for work, *part in parts], dim)

    def sort(self, x: Tensor) -> Tensor:
        return x if self.order is None else x.index_select(0, self.order)

    def unsort(self, x: Tensor) -> Tensor:
        return x if self.back is None else x.index_select(0, self.back)


class Decoder:
    """A network made ready for single tokens; it holds the weights as they were when it was made."""

    def __init__(self, network: Transformer) -> None:
        self.network, self.config, self.norm = network, network.config, _norm(network.config)
        self._kinds: dict[int, _Kind] = {}
        self._frequencies = torch.cat([network.frequencies] * 2, 1)
        self._starts: tuple[Tensor | None, Tensor] = (None, torch.empty(0))

    def step(
        self,
        cache: Cache,
        ids: Sequence[int],
        located: Sequence[tuple[int, int, int]],
        lengths: Sequence[int],
        heads: Sequence[int],
        *,
        first: int = 0,
    ) -> list[Head]:
        """Reads one token in each of the cache's rows from `first` on, and writes it at the row's length.

        Args:
            ids, located: each token, and its two coordinates and place as a cursor gives them.
            lengths: tokens that each row holds already.
            heads: the modality whose logits are wanted after each token; -1 for none.
        """
        device, limit = cache.pairs.device, max(lengths) + 1
        numbers = torch.tensor([ids, *zip(*located, strict=True), lengths], device=device)
        kinds = _Sorted.of([bisect_right(self.config.offsets, token) - 1 for token in ids], device)
        own = [self._kind(kind) for kind in kinds.kinds]
        x = self._embedded(kinds, own, numbers, cache, first)
        cos, sin = self._turns(kinds, own, numbers[1:3].t())
        places = kinds.sort(self._places(cache, first, numbers[4])).reshape(-1)
        bias = self._bias(numbers[4], limit) if min(lengths) + 1 < limit else None
        x = self._through_layers(
            kinds, own, x, (cos, sin), self._views(cache, first, len(ids), limit), places, bias
        )
        works = [partial(self.norm, shape=x.shape[1:], gain=kind.norm) for kind in own]
        return self._heads(kinds.unsort(kinds.each(works, x)), heads)

    def _through_layers(
        self,
        kinds: _Sorted,
        own: Sequence[_Kind],
        x: Tensor,
        turns: tuple[Tensor, Tensor],
        views: Sequence[Tensor],
        places: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        """Sorted states `[rows, width]` after the last layer. The heart of decoding: every call here is made for every
        layer of every step."""
        c, norm = self.config, self.norm
        rows, channels, turned = len(x), (c.channels,), c.heads + c.kv_heads
        split, halves, kept = (turned, c.kv_heads), c.channels // 2, (c.heads, 2 * c.kv_heads)
        parts, width, sequences = c.heads + 2 * c.kv_heads, c.channels, rows * c.kv_heads
        layers = zip(*(kind.layers for kind in own), strict=True)
        each_layer = zip(layers, *(z.unbind(0) for z in (*turns, *views)), strict=True)
        for experts, cos, sin, flat, keys, values in each_layer:
            qkv = kinds.each([e.project for e in experts], x).view(rows, parts, width)
            raw = torch.split_with_sizes(qkv, split, 1)[0]
            qk = norm(raw, channels)
            torch.addcmul(qk * cos, qk.roll(halves, -1), sin, out=raw)
            q, kv = torch.split_with_sizes(qkv, kept, 1)
            flat.index_copy_(0, places, kv.reshape(-1, width))
            # Query heads that share keys stand where a longer call has its tokens.
            q = kinds.unsort(q).reshape(sequences, -1, width)
            scores = torch.bmm(q, keys) if bias is None else torch.baddbmm(bias, q, keys)
            mixed = torch.bmm(scores.softmax(-1), values).view(rows, -1)
            x = kinds.each([e.finish for e in experts], x, kinds.sort(mixed))
        return x

    def _kind(self, kind: int) -> _Kind:
        """A modality's weights, made ready when they are first needed."""
        if kind not in self._kinds:
            self._kinds[kind] = _Kind(self.network, kind)
        return self._kinds[kind]

    def _views(self, cache: Cache, first: int, rows: int, limit: int) -> tuple[Tensor, Tensor, Tensor]:
        """A layer's memory as vectors, and for each sequence and head the keys `[…, channels, limit]` and values
        `[…, limit, channels]` in use; all by layer."""
        seen = cache.pairs[:, :, first : first + rows, :, :limit].flatten(2, 3)
        keys, values = seen.unbind(1)
        return cache.pairs.view(self.config.depth, -1, self.config.channels), keys.mT, values

    def _places(self, cache: Cache, first: int, held: Tensor) -> Tensor:
        """Where in a layer's memory each row's next keys and values go `[rows, 2 * kv_heads]`."""
        if self._starts[0] is not cache.pairs:
            rows, length = cache.ids.shape
            index = torch.arange(2 * rows * self.config.kv_heads, device=held.device) * length
            self._starts = (cache.pairs, index.view(2, rows, -1).transpose(0, 1).reshape(rows, -1))
        return self._starts[1][first : first + len(held)] + held[:, None]

    def _embedded(
        self, kinds: _Sorted, own: Sequence[_Kind], numbers: Tensor, cache: Cache, first: int
    ) -> Tensor:
        """Sorted embeddings `[rows, width]`; the ids are noted in the cache, where codes look for their neighbours."""
        if kinds.kinds == [0]:
            return F.embedding(numbers[0], own[0].table).to(self.network.dtype)
        row = torch.arange(first, first + numbers.shape[1], device=numbers.device)
        cache.ids[row, numbers[4]] = numbers[0]

        def embed(kind: _Kind, row: Tensor, numbers: Tensor) -> Tensor:
            ids, _, _, place, slot = numbers.unbind(1)
            beyond = torch.zeros_like(row, dtype=torch.bool)
            around = kind.embedding.neighbours(cache.ids, row, slot, place, beyond)
            return kind.embedding(ids, place, around, kind.table)

        works = [partial(embed, kind) for kind in own]
        return kinds.each(works, kinds.sort(row), kinds.sort(numbers.t())).to(self.network.dtype)

    def _turns(self, kinds: _Sorted, own: Sequence[_Kind], positions: Tensor) -> tuple[Tensor, Tensor]:
        """RoPE and the gains of queries and keys in one, for all layers: what is multiplied by the channels, and by
        the channels with their halves exchanged; `[depth, rows, heads + kv_heads, channels]`."""
        angles = kinds.sort(positions.float() @ self._frequencies)[:, None]
        cos = kinds.each([kind.cosines for kind in own], angles, dim=1)
        sin = kinds.each([kind.sines for kind in own], angles, dim=1)
        return cos.to(self.network.dtype), sin.to(self.network.dtype)

    def _bias(self, held: Tensor, limit: int) -> Tensor:
        """-inf on slots that a row has not reached: `[rows * kv_heads, 1, limit]`."""
        beyond = (
            torch.arange(limit, device=held.device) > held.repeat_interleave(self.config.kv_heads)[:, None]
        )
        bias = torch.zeros(beyond.shape, dtype=self.network.dtype, device=held.device)
        return bias.masked_fill_(beyond, float("-inf"))[:, None]

    def _heads(self, x: Tensor, heads: Sequence[int]) -> list[Head]:
        """The wanted logits, from states in the order of the rows."""
        found = []
        for modality in sorted(set(heads) - {-1}):
            rows = [row for row, head in enumerate(heads) if head == modality]
            part = x if len(rows) == len(heads) else x[torch.tensor(rows, device=x.device)]
            found.append(Head(modality, rows, torch.mm(part, self._kind(modality).head).float()))
        return found
