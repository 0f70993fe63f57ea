"""A decoder-only Mixture-of-Transformers: each modality has its own weights, one causal attention runs over
all.

Tokens are sorted by modality once per call, so that a modality's tokens are one contiguous slice and every
weight is applied to exactly its own tokens; only attention sees them in reading order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from torch.utils.checkpoint import checkpoint

from model.config import ModelConfig
from model.embedding import Embedding
from model.layers import Expert, Layer, Layout, Linear, Norm, Put, Take
from model.tokens import Cache, Tokens, rounded_up

MATRICES = ("layers.", ".mixer.")
"""Modules whose matrices map states to states: Muon's, if it is used."""
ATTENTION_WRITTEN_OUT = 1 << 20
"""Queries times keys up to which, on a CPU, all weights of a row are held at once."""

_EXACT = ContextVar("exact", default=False)


@contextmanager
def exact() -> Iterator[None]:
    """Networks compute in float32 here, whatever else they do."""
    before = _EXACT.set(True)
    try:
        yield
    finally:
        _EXACT.reset(before)


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


class Transformer(nn.Module):
    """The whole network."""

    frequencies: Tensor
    offsets: Tensor
    bf16 = False
    """Whether to compute in bfloat16; the weights stay float32."""
    recompute = False
    """Whether layers are computed again on the way back instead of their activations being kept."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        places = zip(config.modalities, config.offsets, strict=False)
        self.embeddings = nn.ModuleList(Embedding(config, m, low) for m, low in places)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.norms = nn.ModuleList(Norm(config.width, config) for _ in config.modalities)
        self.heads = nn.ModuleList(Linear(config.width, m.size, bias=False) for m in config.modalities)
        # Those that not every network has come last, so that the others' first weights are the same.
        names = [m.name for m in config.modalities] if config.teacher_width else []
        self.projections = nn.ModuleDict(
            {name: Linear(config.width, config.teacher_width, bias=False) for name in names}
        )
        self.label_head = Linear(config.width, len(config.classes), bias=False) if config.classes else None
        self.reset_constants()

    def reset_constants(self) -> None:
        """Sets what follows from the configuration alone and is not saved, on the device of the weights."""
        device = next(self.parameters()).device
        self.register_buffer("frequencies", rope_frequencies(self.config).to(device), persistent=False)
        self.register_buffer("offsets", torch.tensor(self.config.offsets, device=device), persistent=False)
        for embedding in self.embeddings:
            cast(Embedding, embedding).reset_constants(device)

    @torch.no_grad()
    def initialise(self, seed: int) -> Transformer:
        """Sets every weight from the seed: inputs of a layer at unit gain, outputs at zero, so that it
        starts as identity."""
        generator = torch.Generator().manual_seed(seed)
        for embedding in self.embeddings:
            cast(Embedding, embedding).initialise(self.config.embedding_std, generator)
        for name, weight in self.named_parameters():
            if name.startswith("embeddings."):
                continue
            if name.endswith(".gain"):
                weight.fill_(1.0)
            elif name.endswith((".out.weight", ".down.weight")) or name.startswith(("heads.", "label_head.")):
                weight.zero_()
            else:
                weight.copy_(torch.randn(weight.shape, generator=generator) * weight.shape[1] ** -0.5)
        return self

    def compile_experts(self) -> None:
        """Compiles what each modality computes on its own, for any number of tokens."""
        for layer in self.layers:
            for expert in cast(list[Expert], list(cast(Layer, layer).experts)):
                expert.project = torch.compile(expert.project, dynamic=True)  # type: ignore[method-assign]
                expert.finish = torch.compile(expert.finish, dynamic=True)  # type: ignore[method-assign]

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the computation."""
        return torch.bfloat16 if self.bf16 and not _EXACT.get() else torch.float32

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
        if at is not None:
            return logits[torch.argsort(wanted)]
        full = torch.full((tokens.ids.numel(), self.config.size), float("-inf"), device=x.device)
        return full.index_copy(0, wanted, logits).view(*tokens.ids.shape, -1)

    def targets(self, tokens: Tokens, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each modality the logits `[n, size]` of its own head where `targets` names one of its ids, and
        those targets `[n]` counted from 0, -1 for a few that want nothing. No other logit is computed."""
        flat, text = targets.flatten(), self.modality_of(tokens.ids).flatten() == 0
        if tokens.real is not None:
            text &= tokens.real.flatten()
        asked = (flat >= 0) | rounded_up((flat >= 0) & text, text)
        x, wanted, counts = self.hidden(tokens, asked.nonzero().squeeze(1), None)
        x, aims = self._normed(x, counts), flat[wanted].long()
        kind, pairs = self.modality_of(aims.clamp(min=0)), []  # what wants nothing goes to the text head
        for m, low in enumerate(self.config.offsets[:-1]):
            rows = (kind == m).nonzero().squeeze(1)
            pairs.append((self.heads[m](Take.apply(x, rows)), aims[rows] - low))
        return pairs

    def pooled(self, tokens: Tokens, own: Tensor, shift: Tensor | None = None) -> Tensor:
        """One state `[rows, width]`, float32, of each row, whose tokens are `own` (bool `[rows, length]`); `shift`
        `[rows, length, width]` is added to the embeddings."""
        last = None
        if self.config.pool == "last":
            last = own.sum(1) - 1 + torch.arange(len(own), device=own.device) * own.shape[1]
        x, order, counts = self.hidden(tokens, last, None, shift)
        x = self._normed(x, counts).float()
        if last is not None:
            return Take.apply(x, torch.argsort(order))
        spread = Put.apply(x, order, own.numel()).view(*own.shape, -1)
        return (spread * own[..., None]).sum(1) / own.sum(1, keepdim=True)

    def classify(self, tokens: Tokens, own: Tensor, shift: Tensor | None = None) -> Tensor:
        """Class logits `[rows, classes]`, float32, of each row; see `pooled`."""
        assert self.label_head is not None, "a network without classes has no label head"
        return self.label_head(self.pooled(tokens, own, shift))

    def projected(self, tokens: Tokens, own: Tensor, is_text: Tensor) -> Tensor:
        """States of rows in the teacher's space, at length 1: float32 `[rows, teacher_width]`. Of what kind a row is, bool
        `[rows]`, picks its projection."""
        state = self.pooled(tokens, own)
        image, text = (self.projections[name](state) for name in ("image", "text"))
        return F.normalize(torch.where(is_text[:, None], text, image), dim=1)

    def embedded(self, tokens: Tokens) -> Tensor:
        """The embeddings `[rows, length, width]` of all tokens but padding, of which there may be some."""
        layout = self._layout(tokens, self.modality_of(tokens.ids).flatten(), None)
        x = layout.unsort(self._embed(tokens, layout, None))
        return x.view(*tokens.ids.shape, -1)

    def hidden(
        self, tokens: Tokens, at: Tensor | None, cache: Cache | None, shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor, list[int]]:
        """States after the last layer at the wanted tokens, sorted by modality; their flat indices; their
        counts. `shift` `[rows, length, width]` is added to the embeddings."""
        kinds = self.modality_of(tokens.ids).flatten()
        layout = self._layout(tokens, kinds, cache)
        x = self._embed(tokens, layout, cache)
        if shift is not None:
            x = x + layout.sort(shift.flatten(0, 1)).to(x.dtype)
        order = layout.order if layout.order is not None else torch.arange(len(kinds), device=kinds.device)
        keep = None
        if at is not None:
            asked = torch.zeros_like(kinds, dtype=torch.bool)
            asked[at] = True
            index = asked[order].nonzero().squeeze(1)
            order = order[index]
            keep = (index, torch.bincount(kinds[order], minlength=len(layout.counts)).tolist())
        for i, layer in enumerate(self.layers):
            stored = None if cache is None else cache.pairs[i]
            last = keep if i == len(self.layers) - 1 else None
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(layer, x, layout, stored, last, use_reentrant=False, preserve_rng_state=False)
            else:
                x = layer(x, layout, stored, last)
        return x, order, keep[1] if keep else layout.counts

    def _layout(self, tokens: Tokens, kinds: Tensor, cache: Cache | None) -> Layout:
        modalities, order = len(self.config.modalities), None
        if tokens.real is not None:
            kinds = torch.where(tokens.real.flatten(), kinds, modalities)  # padding is sorted to the end
        counts = torch.bincount(kinds, minlength=modalities).tolist()[:modalities]
        positions = tokens.positions.reshape(-1, 2)
        if max(counts) < len(kinds):
            order = torch.argsort(kinds, stable=True)[: sum(counts)]
            positions = positions[order]
        angles = (positions.float() @ self.frequencies)[:, None, :]
        shape = (tokens.ids.shape[0], tokens.ids.shape[1])
        cos, sin = (z.to(self.dtype) for z in (angles.cos(), angles.sin()))
        layout = Layout(shape, order, counts, cos, sin, tokens.mask, limit=shape[1])
        if cache is not None:
            slots = cache.lengths[:, None] + torch.arange(shape[1], device=kinds.device)
            cache.ids.scatter_(1, slots, tokens.ids)
            layout = replace(layout, slots=slots, limit=int(slots.max()) + 1)
        return self._masked(layout)

    def _masked(self, layout: Layout) -> Layout:
        """The layout with its mask, on a CPU also as a bias."""
        mask, length, device = layout.mask, layout.shape[1], layout.cos.device
        if mask is None and layout.slots is not None:
            keys = torch.arange(layout.limit, device=device)
            mask = (keys <= layout.slots[:, :, None]).unsqueeze(1)
        if (
            isinstance(mask, BlockMask)
            or device.type != "cpu"
            or length * layout.limit > ATTENTION_WRITTEN_OUT
        ):
            return replace(layout, mask=mask)
        if mask is None:
            mask = torch.ones(length, length, dtype=torch.bool).tril()
        bias = torch.zeros(mask.shape, dtype=self.dtype).masked_fill_(~mask, -1e9)
        return replace(layout, mask=mask, bias=bias)

    def _embed(self, tokens: Tokens, layout: Layout, cache: Cache | None) -> Tensor:
        """Sorted embeddings `[tokens, width]`."""
        length = layout.shape[1]
        ids, places = tokens.ids.flatten(), tokens.places.flatten()
        whole = torch.zeros_like(ids) if tokens.blocks is None else tokens.blocks.flatten()
        flat = torch.arange(len(ids), device=ids.device) if layout.order is None else layout.order
        parts = []
        for module, part in zip(self.embeddings, flat.split(layout.counts), strict=True):
            if not len(part):
                continue
            embedding, row, slot, known = cast(Embedding, module), part // length, part % length, tokens.ids
            if cache is not None and layout.slots is not None:
                slot, known = layout.slots.flatten()[part], cache.ids
            around = embedding.neighbours(known, row, slot, places[part], whole[part] > 0)
            parts.append(embedding(ids[part], places[part], around))
        return torch.cat(parts).to(self.dtype)

    def _normed(self, x: Tensor, counts: list[int]) -> Tensor:
        parts = zip(self.norms, x.split(counts), strict=True)
        return torch.cat([norm(part) for norm, part in parts if len(part)] or [x])
