"""A decoder-only Mixture-of-Transformers: each modality has its own weights, one causal attention runs over all.

Tokens are sorted by modality once per call, so that a modality's tokens are one contiguous slice and every weight
is applied to exactly its own tokens; only attention sees them in reading order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig


@dataclass(frozen=True)
class Tokens:
    """What the network reads: `[rows, length]` each, and what may attend to what."""

    ids: Tensor
    """int64, over all modalities."""
    positions: Tensor
    """int64 `[rows, length, 2]`: two coordinates along the token's own path (branches of one trunk count on from its
    end). They are equal for text, and for codes too unless the model tells rows from columns."""
    places: Tensor
    """int64: the index of a code within its picture; 0 elsewhere."""
    mask: Tensor | None = None
    """bool `[rows, 1, length, keys]`; None is plain causal."""

    def to(self, device: torch.device | str) -> Tokens:
        mask = None if self.mask is None else self.mask.to(device)
        return Tokens(self.ids.to(device), self.positions.to(device), self.places.to(device), mask)


def tree_mask(units: Tensor, branches: Tensor, blocks: Tensor | None = None) -> Tensor:
    """Who attends to whom in packed rows: bool `[rows, 1, length, length]` from int `[rows, length]` each.

    A token sees what precedes it in its own unit: the trunk (branch 0) and its own branch. Tokens of one block
    (a number above 0) see each other in both directions. Padding (unit -1) sees itself.
    """
    length = units.shape[1]
    index = torch.arange(length, device=units.device)
    past = index[:, None] >= index[None, :]
    if blocks is not None:
        past = past | ((blocks[:, :, None] == blocks[:, None, :]) & (blocks[:, :, None] > 0))
    same = (units[:, :, None] == units[:, None, :]) & (units[:, :, None] >= 0)
    path = (branches[:, None, :] == 0) | (branches[:, :, None] == branches[:, None, :])
    return ((same & path & past) | torch.eye(length, dtype=torch.bool, device=units.device)).unsqueeze(1)


class Cache:
    """Keys and values of all layers, allocated once: `[depth, rows, length, kv_heads, channels]`."""

    def __init__(self, config: ModelConfig, rows: int, length: int, *, device: torch.device | str = "cpu",
                 dtype: torch.dtype = torch.float32) -> None:
        shape = (config.depth, rows, length, config.kv_heads, config.channels)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)
        """Tokens that each row holds; the caller raises it after a call, padding left out."""

    def select(self, rows: Tensor) -> None:
        """Goes on with these rows; a row may be taken several times."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.lengths = self.lengths[rows]

    def mask(self, blocks: Tensor) -> Tensor:
        """Who sees what when tokens of these blocks `[rows, length]` come in: what precedes, and their own block."""
        slots = self.lengths[:, None] + torch.arange(blocks.shape[1], device=blocks.device)
        limit = int(slots.max()) + 1
        keys = torch.zeros((len(blocks), limit), dtype=blocks.dtype, device=blocks.device).scatter_(1, slots, blocks)
        past = torch.arange(limit, device=blocks.device) <= slots[:, :, None]
        return (past | ((blocks[:, :, None] == keys[:, None, :]) & (blocks[:, :, None] > 0))).unsqueeze(1)


class _Reorder(torch.autograd.Function):
    """Rows by a permutation; the gradient goes back by its inverse, so that nothing is summed up in no set order."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, inverse: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(inverse)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx, grad: Tensor):  # noqa: ANN001, ANN205
        return grad.index_select(0, ctx.saved_tensors[0]), None, None


class _Take(torch.autograd.Function):
    """Some rows, each at most once: the gradient is a copy, never a sum."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(index)
        ctx.rows = x.shape[0]
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx, grad: Tensor):  # noqa: ANN001, ANN205
        full = grad.new_zeros((ctx.rows, *grad.shape[1:]))
        return full.index_copy_(0, ctx.saved_tensors[0], grad), None


@dataclass(frozen=True)
class Layout:
    """Where each token of a call stands when sorted by modality, and what the attention needs."""

    shape: tuple[int, int]
    order: Tensor | None
    """Flat index of each sorted token; None when one modality is alone, as in most decoding steps."""
    inverse: Tensor | None
    counts: list[int]
    """Tokens of each modality."""
    cos: Tensor
    sin: Tensor
    """`[tokens, 1, channels / 2]`, sorted."""
    mask: Tensor | None
    slots: Tensor | None = None
    """Where each token goes in the cache."""
    limit: int = 0
    """Slots of the cache that are in use."""

    def sort(self, x: Tensor) -> Tensor:
        return x if self.order is None else _Reorder.apply(x, self.order, self.inverse)

    def unsort(self, x: Tensor) -> Tensor:
        return x if self.order is None else _Reorder.apply(x, self.inverse, self.order)


class Norm(nn.Module):
    """RMSNorm over the last dimension, with a learned gain."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.gain, 1e-6)


class Expert(nn.Module):
    """One modality's weights in one layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, channels = config.width, config.channels
        self.heads, self.kv_heads, self.channels = config.heads, config.kv_heads, channels
        self.norm_attention = Norm(width)
        self.qkv = nn.Linear(width, (config.heads + 2 * config.kv_heads) * channels, bias=False)
        self.norm_q, self.norm_k = Norm(channels), Norm(channels)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_feed = Norm(width)
        self.gated = config.activation == "swiglu"
        self.up = nn.Linear(width, config.hidden * (2 if self.gated else 1), bias=False)
        self.down = nn.Linear(config.hidden, width, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values `[tokens, heads, channels]`, queries and keys normalised."""
        qkv = self.qkv(self.norm_attention(x)).view(len(x), -1, self.channels)
        q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        return self.norm_q(q), self.norm_k(k), v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The residual stream after the attention's output and the feed-forward layer."""
        x = x + self.out(attended)
        h = self.up(self.norm_feed(x))
        if self.gated:
            gate, h = h.chunk(2, dim=-1)
            h = F.silu(gate) * h
        else:
            h = F.relu(h).square()
        return x + self.down(h)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on `[tokens, heads, channels]`."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def rope_frequencies(config: ModelConfig) -> Tensor:
    """Radians per position `[2, channels / 2]`: each channel pair turns with one of the two coordinates."""
    pairs = config.channels // 2
    turns = torch.zeros(2, pairs)
    if not config.rope_2d:
        turns[0] = config.rope_base ** (-torch.arange(pairs) / pairs)
        return turns
    half = pairs // 2
    turns[0, :half] = turns[1, half:] = config.rope_base ** (-torch.arange(half) / half)
    return turns


def level_values(levels: tuple[int, ...]) -> Tensor:
    """The channels that each code stands for, in [-1, 1]: `[codes, channels]`, the first channel counting fastest."""
    codes, columns, stride = torch.arange(prod(levels)), [], 1
    for level in levels:
        columns.append((codes // stride % level) / (level - 1) * 2 - 1)
        stride *= level
    return torch.stack(columns, dim=1)


class Layer(nn.Module):
    """The experts of one layer and the attention that joins them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.experts = nn.ModuleList(Expert(config) for _ in range(1 if config.dense else len(config.modalities)))

    def forward(self, x: Tensor, layout: Layout, cache: tuple[Tensor, Tensor] | None,
                keep: tuple[Tensor, list[int]] | None) -> Tensor:
        """Maps the sorted tokens to sorted tokens; with `keep` (index, counts) only to those that are asked for."""
        parts = x.split(self._counts(layout.counts))
        projected = [e.project(part) for e, part in zip(self.experts, parts, strict=True) if len(part)]
        q, k, v = (torch.cat(z) if len(z) > 1 else z[0] for z in zip(*projected, strict=True))
        attended = attend(rotate(q, layout.cos, layout.sin), rotate(k, layout.cos, layout.sin), v, layout, cache)
        counts = layout.counts
        if keep is not None:
            index, counts = keep
            x, attended = _Take.apply(x, index), _Take.apply(attended, index)
        counts = self._counts(counts)
        parts = zip(self.experts, x.split(counts), attended.split(counts), strict=True)
        finished = [e.finish(part, a) for e, part, a in parts if len(part)]
        return torch.cat(finished) if len(finished) != 1 else finished[0]

    def _counts(self, counts: list[int]) -> list[int]:
        return [sum(counts)] if len(self.experts) == 1 else counts


def attend(q: Tensor, k: Tensor, v: Tensor, layout: Layout, cache: tuple[Tensor, Tensor] | None) -> Tensor:
    """The one attention over all modalities: sorted `[tokens, heads, channels]` in, sorted `[tokens, width]` out."""
    rows, length = layout.shape
    q, k, v = (layout.unsort(z).view(rows, length, *z.shape[1:]) for z in (q, k.to(v.dtype), v))
    if cache is not None:
        keys, values = cache
        row = torch.arange(rows, device=k.device)[:, None]
        keys[row, layout.slots], values[row, layout.slots] = k.to(keys.dtype), v.to(values.dtype)
        k, v = keys[:, : layout.limit].to(q.dtype), values[:, : layout.limit].to(q.dtype)
    mixed = F.scaled_dot_product_attention(
        q.to(v.dtype).transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=layout.mask,
        is_causal=layout.mask is None, enable_gqa=q.shape[2] != k.shape[2],
    )
    return layout.sort(mixed.transpose(1, 2).reshape(rows * length, -1))


class Transformer(nn.Module):
    """The whole network."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = nn.ModuleList(nn.Embedding(m.size, config.width) for m in config.modalities)
        self.row_embeddings = nn.ModuleDict()
        self.column_embeddings = nn.ModuleDict()
        for m in config.modalities:
            if m.grid:
                self.row_embeddings[m.name] = nn.Embedding(m.grid[0], config.width)
                self.column_embeddings[m.name] = nn.Embedding(m.grid[1], config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.norms = nn.ModuleList(Norm(config.width) for _ in config.modalities)
        self.heads = nn.ModuleList(nn.Linear(config.width, m.size, bias=False) for m in config.modalities)
        self.level_projections = nn.ModuleDict()
        if config.embed_levels:
            for m in config.modalities:
                if m.levels:
                    self.level_projections[m.name] = nn.Linear(len(m.levels), config.width)
        self.reset_constants()

    def reset_constants(self) -> None:
        """Sets what follows from the configuration alone and is not saved, on the device of the weights."""
        device = self.heads[0].weight.device
        constants = {"frequencies": rope_frequencies(self.config), "offsets": torch.tensor(self.config.offsets)}
        for m in self.config.modalities:
            if m.name in self.level_projections and m.levels:
                constants[f"levels_{m.name}"] = level_values(m.levels)
        for name, value in constants.items():
            self.register_buffer(name, value.to(device), persistent=False)

    @torch.no_grad()
    def initialise(self, seed: int) -> Transformer:
        """Sets every weight from the seed: inputs of a layer at unit gain, outputs at zero, so that it starts as identity."""
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if name.endswith(".gain"):
                weight.fill_(1.0)
            elif name.endswith(".bias"):
                weight.zero_()
            elif name.endswith((".out.weight", ".down.weight")) or name.startswith("heads."):
                weight.zero_()
            else:
                std = self.config.embedding_std if "embeddings" in name else weight.shape[1] ** -0.5
                weight.copy_(torch.randn(weight.shape, generator=generator) * std)
        return self

    def parameter_count(self) -> int:
        return sum(weight.numel() for weight in self.parameters())

    def modality_of(self, ids: Tensor) -> Tensor:
        """Index of the modality that each id belongs to."""
        return torch.bucketize(ids.contiguous(), self.offsets[1:-1], right=True)

    def head_of(self, ids: Tensor, places: Tensor) -> Tensor:
        """Which head is on after each token: after `begin`, and until the picture is whole, its modality's; else text."""
        on = torch.zeros_like(ids)
        for m, (modality, low) in enumerate(zip(self.config.modalities, self.config.offsets[:-1], strict=True)):
            if modality.grid:
                inside = (ids >= low) & (ids < low + modality.size) & (places < modality.length - 1)
                on = torch.where(inside | (ids == modality.begin), m, on)
        return on

    def forward(self, tokens: Tokens, cache: Cache | None = None, at: Tensor | None = None) -> Tensor:
        """Logits over all ids, -inf where a head is off.

        Args:
            tokens: what is read; with a cache, what is new in each row, padding at its end.
            cache: read, and written at each row's length, which the caller then raises.
            at: flat indices (row-major, ascending) of the tokens whose logits are wanted; all if None.

        Returns:
            float32 `[rows, length, ids]`, or `[len(at), ids]`.
        """
        x, wanted, counts = self.hidden(tokens, at, cache)
        head = self.head_of(tokens.ids, tokens.places).flatten()[wanted]
        x = self._normed(x, counts)
        logits = torch.full((len(x), self.config.size), float("-inf"), device=x.device)
        for m, low in enumerate(self.config.offsets[:-1]):
            rows = (head == m).nonzero().squeeze(1)
            if len(rows):
                logits[rows, low : low + self.config.modalities[m].size] = self.heads[m](x[rows]).float()
        if at is None:
            return logits[torch.argsort(wanted)].view(*tokens.ids.shape, -1)
        return logits[torch.argsort(wanted)]

    def targets(self, tokens: Tokens, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each modality the logits `[n, size]` of its own head where `targets` names one of its ids, and those
        targets `[n]` counted from 0; -1 wants nothing. No other logit is computed."""
        flat = targets.flatten()
        x, wanted, counts = self.hidden(tokens, (flat >= 0).nonzero().squeeze(1), None)
        x, aims = self._normed(x, counts), flat[wanted]
        kind, pairs = self.modality_of(aims), []
        for m, low in enumerate(self.config.offsets[:-1]):
            rows = (kind == m).nonzero().squeeze(1)
            pairs.append((self.heads[m](_Take.apply(x, rows)), aims[rows] - low))
        return pairs

    def hidden(self, tokens: Tokens, at: Tensor | None, cache: Cache | None) -> tuple[Tensor, Tensor, list[int]]:
        """States after the last layer at the wanted tokens, sorted by modality; their flat indices; their counts."""
        kinds = self.modality_of(tokens.ids).flatten()
        layout = self._layout(tokens, kinds, cache)
        x = self._embed(tokens, layout)
        order = layout.order if layout.order is not None else torch.arange(len(kinds), device=kinds.device)
        keep = None
        if at is not None:
            asked = torch.zeros_like(kinds, dtype=torch.bool)
            asked[at] = True
            index = asked[order].nonzero().squeeze(1)
            order = order[index]
            keep = (index, torch.bincount(kinds[order], minlength=len(layout.counts)).tolist())
        for i, layer in enumerate(self.layers):
            stored = None if cache is None else (cache.keys[i], cache.values[i])
            x = layer(x, layout, stored, keep if i == len(self.layers) - 1 else None)
        return x, order, keep[1] if keep else layout.counts

    def _layout(self, tokens: Tokens, kinds: Tensor, cache: Cache | None) -> Layout:
        counts = torch.bincount(kinds, minlength=len(self.config.modalities)).tolist()
        order = inverse = None
        positions = tokens.positions.reshape(-1, 2)
        if max(counts) < len(kinds):
            order = torch.argsort(kinds, stable=True)
            inverse = torch.empty_like(order)
            inverse[order] = torch.arange(len(order), device=order.device)
            positions = positions[order]
        angles = (positions.float() @ self.frequencies)[:, None, :]
        layout = Layout((tokens.ids.shape[0], tokens.ids.shape[1]), order, inverse, counts,
                        angles.cos(), angles.sin(), tokens.mask)
        if cache is None:
            return layout
        slots = cache.lengths[:, None] + torch.arange(tokens.ids.shape[1], device=kinds.device)
        limit = int(slots.max()) + 1
        mask = layout.mask
        if mask is None:
            mask = (torch.arange(limit, device=kinds.device) <= slots[:, :, None]).unsqueeze(1)
        return replace(layout, mask=mask, slots=slots, limit=limit)

    def _embed(self, tokens: Tokens, layout: Layout) -> Tensor:
        ids, places = tokens.ids.flatten(), tokens.places.flatten()
        if layout.order is not None:
            ids, places = ids[layout.order], places[layout.order]
        parts = []
        split = zip(self.config.modalities, self.config.offsets[:-1], self.embeddings,
                    ids.split(layout.counts), places.split(layout.counts), strict=True)
        for modality, low, embedding, part, place in split:
            x = embedding(part - low)
            if modality.name in self.level_projections:
                values = getattr(self, f"levels_{modality.name}")
                x = x + self.level_projections[modality.name](values[part - low])
            if modality.grid:
                columns = modality.grid[1]
                x = x + self.row_embeddings[modality.name](place // columns)
                x = x + self.column_embeddings[modality.name](place % columns)
            parts.append(x)
        return torch.cat(parts)

    def _normed(self, x: Tensor, counts: list[int]) -> Tensor:
        return torch.cat([norm(part) for norm, part in zip(self.norms, x.split(counts), strict=True)])
