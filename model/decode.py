"""One more token in every row: what `Transformer.forward` does, without what only longer calls need.

A step of a small network takes as long as its operations are many. Here rows of one modality need no sorting,
weights are made ready once, keys and values are written where they stay, and only the head that is on is computed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from model.embedding import Embedding
from model.layers import Expert, Layer
from model.tokens import Cache
from model.transformer import Transformer


@dataclass(frozen=True)
class Head:
    """Logits `[rows, size]` (float32) of one modality's head, for the rows where it is on."""

    modality: int
    rows: list[int]
    logits: Tensor


@dataclass(frozen=True)
class _Weights:
    """One modality's weights in one layer."""

    before: Tensor
    qkv: Tensor
    gains: Tensor
    """Of queries and keys `[heads + kv_heads, channels]`."""
    out: Tensor
    after: Tensor
    up: Tensor
    down: Tensor

    @classmethod
    def of(cls, expert: Expert, dtype: torch.dtype) -> _Weights:
        heads = (expert.norm_q.gain.expand(expert.heads, -1), expert.norm_k.gain.expand(expert.kv_heads, -1))
        kept = (
            expert.norm_attention.gain,
            expert.qkv.weight,
            torch.cat(heads),
            expert.out.weight.t(),
            expert.norm_feed.gain,
            expert.up.weight,
            expert.down.weight.t(),
        )
        return cls(*(tensor.detach().to(dtype) for tensor in kept))


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
        rows = sorted(range(len(kinds)), key=lambda r: kinds[r])
        order = torch.tensor(rows, device=device)
        return cls(present, [list(kinds).count(k) for k in present], order, torch.argsort(order))

    def each(self, work: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """`work(kind, *parts)` on each modality's part of sorted tensors."""
        if self.order is None:
            return work(self.kinds[0], *tensors)
        parts = zip(self.kinds, *(z.split(self.counts) for z in tensors), strict=True)
        return torch.cat([work(*part) for part in parts])

    def sort(self, x: Tensor) -> Tensor:
        return x if self.order is None else x.index_select(0, self.order)

    def unsort(self, x: Tensor) -> Tensor:
        return x if self.back is None else x.index_select(0, self.back)


class Decoder:
    """A network made ready for single tokens; it holds the weights as they were when it was made."""

    def __init__(self, network: Transformer) -> None:
        self.network, self.config, self.dtype = network, network.config, network.dtype
        self._layers: dict[int, list[_Weights]] = {}
        self._tables: dict[int, Tensor] = {}

    def step(
        self,
        cache: Cache,
        ids: Sequence[int],
        located: Sequence[tuple[int, int, int]],
        lengths: Sequence[int],
        heads: Sequence[int],
    ) -> list[Head]:
        """Reads one token in each of the cache's first rows, and writes it at the row's length.

        Args:
            ids, located: each token, and its two coordinates and place as a cursor gives them.
            lengths: tokens that each row holds already.
            heads: the modality whose logits are wanted after each token; -1 for none.
        """
        rows, device = len(ids), cache.keys.device
        numbers = torch.tensor([ids, *zip(*located, strict=True), lengths], device=device)
        tokens, places, held = numbers[0], numbers[3], numbers[4]
        kinds = _Sorted.of([self._kind(i) for i in ids], device)
        slots = held + torch.arange(rows, device=device) * cache.ids.shape[1]
        cache.ids.view(-1).index_copy_(0, slots, tokens)
        x = self._embedded(kinds, tokens, places, held, cache)
        cos, sin = self._turns(kinds.sort(numbers[1:3].t()))
        slots, limit = kinds.sort(slots), max(lengths) + 1
        bias = self._bias(held, limit) if min(lengths) + 1 < limit else None
        for layer in range(self.config.depth):
            q, k, v = self._projected(layer, kinds, x, cos, sin)
            keys, values = cache.keys[layer], cache.values[layer]
            keys.view(-1, *keys.shape[2:]).index_copy_(0, slots, k)
            values.view(-1, *values.shape[2:]).index_copy_(0, slots, v)
            # Query heads that share keys stand where a longer call has its tokens.
            q = kinds.unsort(q).view(rows, self.config.kv_heads, -1, self.config.channels)
            k, v = keys[:rows, :limit].transpose(1, 2), values[:rows, :limit].transpose(1, 2)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).reshape(rows, -1)
            x = self._finished(layer, kinds, x, kinds.sort(mixed))
        return self._heads(kinds, x, heads)

    def _kind(self, token: int) -> int:
        return bisect_right(self.config.offsets, token) - 1

    def _weights(self, kind: int) -> list[_Weights]:
        """A modality's weights, layer by layer."""
        kind = 0 if self.config.dense else kind
        if kind not in self._layers:
            experts = [cast(Expert, cast(Layer, layer).experts[kind]) for layer in self.network.layers]
            self._layers[kind] = [_Weights.of(expert, self.dtype) for expert in experts]
        return self._layers[kind]

    def _norm(self, x: Tensor, gain: Tensor | None) -> Tensor:
        if self.config.norm == "layer":
            return F.layer_norm(x, x.shape[-1:], gain, None, 1e-6)
        return F.rms_norm(x, x.shape[-1:], gain, 1e-6)

    def _embedded(self, kinds: _Sorted, tokens: Tensor, places: Tensor, held: Tensor, cache: Cache) -> Tensor:
        """Sorted embeddings `[rows, width]`."""
        row = torch.arange(len(tokens), device=tokens.device)

        def embed(kind: int, row: Tensor) -> Tensor:
            module = cast(Embedding, self.network.embeddings[kind])
            if kind not in self._tables:
                self._tables[kind] = module.table()
            ids, place, slot = (
                (tokens, places, held) if kinds.order is None else (z[row] for z in (tokens, places, held))
            )
            around = module.neighbours(cache.ids, row, slot, place, torch.zeros_like(row, dtype=torch.bool))
            return module(ids, place, around, self._tables[kind])

        return kinds.each(embed, kinds.sort(row)).to(self.dtype)

    def _turns(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """What `rotated` multiplies by: cosines, and sines with their signs, `[rows, 1, channels]` each."""
        angles = positions.float() @ self.network.frequencies
        cos, sin = angles.cos(), angles.sin()
        pair = torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)
        return pair[0][:, None].to(self.dtype), pair[1][:, None].to(self.dtype)

    def _bias(self, held: Tensor, limit: int) -> Tensor:
        """-inf on slots that a row has not reached."""
        beyond = torch.arange(limit, device=held.device) > held[:, None]
        bias = torch.zeros(beyond.shape, dtype=self.dtype, device=held.device)
        return bias.masked_fill_(beyond, float("-inf"))[:, None, None]

    def _projected(
        self, layer: int, kinds: _Sorted, x: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sorted queries, keys and values `[rows, heads, channels]`, as `Expert.project` and `rotate` make them."""

        def project(kind: int, x: Tensor) -> Tensor:
            w = self._weights(kind)[layer]
            return F.linear(self._norm(x, w.before), w.qkv)

        def gained(kind: int, x: Tensor) -> Tensor:
            return x * self._weights(kind)[layer].gains

        turned = self.config.heads + self.config.kv_heads
        qkv = kinds.each(project, x).view(len(x), -1, self.config.channels)
        x = kinds.each(gained, self._norm(qkv[:, :turned], None))
        a, b = x.chunk(2, -1)
        x = torch.addcmul(x * cos, torch.cat([b, a], -1), sin)
        return x[:, : self.config.heads], x[:, self.config.heads :], qkv[:, turned:]

    def _finished(self, layer: int, kinds: _Sorted, x: Tensor, mixed: Tensor) -> Tensor:
        """The residual stream after the attention's output and the feed-forward layer, as `Expert.finish` makes it."""

        def finish(kind: int, x: Tensor, mixed: Tensor) -> Tensor:
            w = self._weights(kind)[layer]
            x = torch.addmm(x, mixed, w.out)
            h = F.linear(self._norm(x, w.after), w.up)
            if self.config.activation == "swiglu":
                gate, h = h.chunk(2, -1)
                h = F.silu(gate) * h
            else:
                h = h.relu_().square_()
            return torch.addmm(x, h, w.down)

        return kinds.each(finish, x, mixed)

    def _heads(self, kinds: _Sorted, x: Tensor, heads: Sequence[int]) -> list[Head]:
        norms = self.network.norms
        x = kinds.unsort(kinds.each(lambda kind, part: self._norm(part, norms[kind].gain.to(self.dtype)), x))
        found = []
        for modality in sorted(set(heads) - {-1}):
            rows = [row for row, head in enumerate(heads) if head == modality]
            part = x if len(rows) == len(heads) else x[torch.tensor(rows, device=x.device)]
            found.append(Head(modality, rows, self.network.heads[modality](part).float()))
        return found
