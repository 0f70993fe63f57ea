"""A decoder-only Mixture-of-Transformers: each modality has its own weights, one causal attention runs over
all.

Tokens are sorted by modality once per call, so that a modality's tokens are one contiguous slice and every
weight is applied to exactly its own tokens; only attention sees them in reading order.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import Modality, ModelConfig
from model.layers import Layer, Layout, Norm, Take
from model.tokens import Cache, Tokens


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
    """The channels that each code stands for, in [-1, 1]: `[codes, channels]`, the first channel counting
    fastest."""
    codes, columns, stride = torch.arange(prod(levels)), [], 1
    for level in levels:
        columns.append((codes // stride % level) / (level - 1) * 2 - 1)
        stride *= level
    return torch.stack(columns, dim=1)


class Transformer(nn.Module):
    """The whole network."""

    frequencies: Tensor
    offsets: Tensor

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
        self.mixers = nn.ModuleDict()
        if config.neighbours:
            for m in config.modalities:
                if m.grid:
                    self.mixers[m.name] = nn.Linear(9 * config.width, config.width, bias=False)
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
        device = next(self.parameters()).device
        constants = {
            "frequencies": rope_frequencies(self.config),
            "offsets": torch.tensor(self.config.offsets),
        }
        for m in self.config.modalities:
            if m.name in self.level_projections and m.levels:
                constants[f"levels_{m.name}"] = level_values(m.levels)
        for name, value in constants.items():
            self.register_buffer(name, value.to(device), persistent=False)

    @torch.no_grad()
    def initialise(self, seed: int) -> Transformer:
        """Sets every weight from the seed: inputs of a layer at unit gain, outputs at zero, so that it
        starts as identity."""
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if name.endswith(".gain"):
                weight.fill_(1.0)
            elif name.endswith((".bias", ".out.weight", ".down.weight")) or name.startswith("heads."):
                weight.zero_()
            else:
                std = (
                    self.config.embedding_std
                    if "embeddings" in name or "level" in name
                    else weight.shape[1] ** -0.5
                )
                weight.copy_(torch.randn(weight.shape, generator=generator) * std)
        return self

    def parameter_count(self) -> int:
        return sum(weight.numel() for weight in self.parameters())

    def modality_of(self, ids: Tensor) -> Tensor:
        """Index of the modality that each id belongs to."""
        return torch.bucketize(ids.contiguous(), self.offsets[1:-1], right=True)

    def head_of(self, ids: Tensor, places: Tensor) -> Tensor:
        """Which head is on after each token: after `begin`, and until the picture is whole, its modality's;
        else text."""
        on = torch.zeros_like(ids)
        for m, (modality, low) in enumerate(
            zip(self.config.modalities, self.config.offsets[:-1], strict=True)
        ):
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
        """For each modality the logits `[n, size]` of its own head where `targets` names one of its ids, and
        those targets `[n]` counted from 0; -1 wants nothing. No other logit is computed."""
        flat = targets.flatten()
        x, wanted, counts = self.hidden(tokens, (flat >= 0).nonzero().squeeze(1), None)
        x, aims = self._normed(x, counts), flat[wanted]
        kind, pairs = self.modality_of(aims), []
        for m, low in enumerate(self.config.offsets[:-1]):
            rows = (kind == m).nonzero().squeeze(1)
            pairs.append((self.heads[m](Take.apply(x, rows)), aims[rows] - low))
        return pairs

    def hidden(
        self, tokens: Tokens, at: Tensor | None, cache: Cache | None
    ) -> tuple[Tensor, Tensor, list[int]]:
        """States after the last layer at the wanted tokens, sorted by modality; their flat indices; their
        counts."""
        kinds = self.modality_of(tokens.ids).flatten()
        layout = self._layout(tokens, kinds, cache)
        x = self._embed(tokens, layout, cache)
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
        layout = Layout(
            (tokens.ids.shape[0], tokens.ids.shape[1]),
            order,
            inverse,
            counts,
            angles.cos(),
            angles.sin(),
            tokens.mask,
        )
        if cache is None:
            return layout
        slots = cache.lengths[:, None] + torch.arange(tokens.ids.shape[1], device=kinds.device)
        cache.ids.scatter_(1, slots, tokens.ids)
        limit = int(slots.max()) + 1
        mask = layout.mask
        if mask is None:
            mask = (torch.arange(limit, device=kinds.device) <= slots[:, :, None]).unsqueeze(1)
        return replace(layout, mask=mask, slots=slots, limit=limit)

    def _embed(self, tokens: Tokens, layout: Layout, cache: Cache | None) -> Tensor:
        """Sorted embeddings `[tokens, width]`."""
        flat = (
            torch.arange(tokens.ids.numel(), device=tokens.ids.device)
            if layout.order is None
            else layout.order
        )
        ids, places = tokens.ids.flatten(), tokens.places.flatten()
        parts = []
        for m, low, part in zip(
            self.config.modalities, self.config.offsets, flat.split(layout.counts), strict=False
        ):
            table = self._table(m)
            x = F.embedding(ids[part] - low, table)
            if m.name in self.mixers:
                around, there = self._around(m, low, tokens, layout, cache, part)
                near = F.embedding(around, table) * there[..., None].to(table.dtype)
                x = x + self.mixers[m.name](near.flatten(1))
            if m.grid:
                place = places[part]
                x = (
                    x
                    + self.row_embeddings[m.name](place // m.grid[1])
                    + self.column_embeddings[m.name](place % m.grid[1])
                )
            parts.append(x)
        return torch.cat(parts)

    def _table(self, modality: Modality) -> Tensor:
        """The embedding of each id of a modality."""
        table: Tensor = self.embeddings[self.config.modality(modality.name)].get_parameter("weight")
        if modality.name in self.level_projections:
            table = table + self.level_projections[modality.name](getattr(self, f"levels_{modality.name}"))
        return table

    def _around(
        self, modality: Modality, low: int, tokens: Tokens, layout: Layout, cache: Cache | None, part: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The 3 x 3 codes around each code (flat indices `part`), itself among them, and which of them it
        may see."""
        rows, columns = modality.grid or (0, 0)
        length = tokens.ids.shape[1]
        row, place = part // length, tokens.places.flatten()[part]
        known, slot = tokens.ids, part % length
        if cache is not None and layout.slots is not None:
            known, slot = cache.ids, layout.slots.flatten()[part]
        step = torch.arange(-1, 2, device=part.device)
        down, right = step.repeat_interleave(3), step.repeat(3)
        r, c = (place // columns)[:, None] + down, (place % columns)[:, None] + right
        there = (r >= 0) & (r < rows) & (c >= 0) & (c < columns)
        move = down * columns + right
        whole = (
            torch.zeros_like(part, dtype=torch.bool)
            if tokens.blocks is None
            else tokens.blocks.flatten()[part] > 0
        )
        there &= (move <= 0) | whole[:, None]
        near = known[row[:, None], torch.where(there, slot[:, None] + move, slot[:, None])]
        return (near - low).clamp(0, modality.size - 1), there

    def _normed(self, x: Tensor, counts: list[int]) -> Tensor:
        return torch.cat([norm(part) for norm, part in zip(self.norms, x.split(counts), strict=True)])
