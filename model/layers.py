"""One layer: each modality's own weights, and the attention that joins them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask

from model import flex
from model.config import ModelConfig


class Take(torch.autograd.Function):
    """Some rows, each at most once: the gradient is a copy, never a sum in no set order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = x.shape[0]
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        full = grads[0].new_zeros((ctx.rows, *grads[0].shape[1:]))
        return full.index_copy_(0, ctx.saved_tensors[0], grads[0]), None


class Put(torch.autograd.Function):
    """The way back: rows to their places among `rows`, with 0 elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(index)
        return x.new_zeros((rows, *x.shape[1:])).index_copy_(0, index, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0].index_select(0, ctx.saved_tensors[0]), None, None


@dataclass(frozen=True)
class Layout:
    """Where each token of a call stands when sorted by modality, and what the attention needs."""

    shape: tuple[int, int]
    order: Tensor | None
    """Flat index of each sorted token; None when one modality is alone, as in most decoding steps."""
    counts: list[int]
    """Tokens of each modality."""
    cos: Tensor
    sin: Tensor
    """`[tokens, 1, channels / 2]`, sorted."""
    mask: Tensor | BlockMask | None
    bias: Tensor | None = None
    """The mask as what is added to the weights, where attention is written out."""
    slots: Tensor | None = None
    """Where each token goes in the cache."""
    limit: int = 0
    """Slots of the cache that are in use."""

    def sort(self, x: Tensor) -> Tensor:
        return x if self.order is None else Take.apply(x, self.order)

    def unsort(self, x: Tensor) -> Tensor:
        return x if self.order is None else Put.apply(x, self.order, self.shape[0] * self.shape[1])


class Norm(nn.Module):
    """RMSNorm over the last dimension with a learned gain; LayerNorm without bias costs a third of it on a
    CPU."""

    def __init__(self, width: int, config: ModelConfig) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.centred = config.norm == "layer"

    def forward(self, x: Tensor) -> Tensor:
        gain, shape = self.gain.to(x.dtype), (x.shape[-1],)
        return F.layer_norm(x, shape, gain, None, 1e-6) if self.centred else F.rms_norm(x, shape, gain, 1e-6)


class Linear(nn.Linear):
    """A matrix kept in float32 and applied in the precision of its input."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class Expert(nn.Module):
    """One modality's weights in one layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, channels = config.width, config.channels
        self.heads, self.kv_heads, self.channels = config.heads, config.kv_heads, channels
        self.norm_attention = Norm(width, config)
        self.qkv = Linear(width, (config.heads + 2 * config.kv_heads) * channels, bias=False)
        self.norm_q, self.norm_k = Norm(channels, config), Norm(channels, config)
        self.out = Linear(width, width, bias=False)
        self.norm_feed = Norm(width, config)
        self.gated = config.activation == "swiglu"
        self.up = Linear(width, config.hidden * (2 if self.gated else 1), bias=False)
        self.down = Linear(config.hidden, width, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values `[tokens, heads, channels]`, queries and keys normalised."""
        heads = self.heads + 2 * self.kv_heads
        qkv = self.qkv(self.norm_attention(x)).view(len(x), heads, self.channels)
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


class Layer(nn.Module):
    """The experts of one layer and the attention that joins them."""

    together = False
    """Whether other workers add to the gradients: then an expert without tokens has some, too, of zero."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.experts = nn.ModuleList(
            Expert(config) for _ in range(1 if config.dense else len(config.modalities))
        )

    def forward(
        self,
        x: Tensor,
        layout: Layout,
        cache: Tensor | None,
        keep: tuple[Tensor, list[int]] | None,
    ) -> Tensor:
        """Maps the sorted tokens to sorted tokens; with `keep` (index, counts) only to those that are asked
        for."""
        experts = cast(list[Expert], list(self.experts))
        slices = zip(experts, x.split(self._counts(layout.counts)), strict=True)
        learns = self.together and torch.is_grad_enabled()
        projected = [e.project(part) for e, part in slices if len(part) or learns]
        q, k, v = (torch.cat(z) if len(z) > 1 else z[0] for z in zip(*projected, strict=True))
        attended = attend(
            rotate(q, layout.cos, layout.sin), rotate(k, layout.cos, layout.sin), v, layout, cache
        )
        counts = layout.counts
        if keep is not None:
            index, counts = keep
            x, attended = Take.apply(x, index), Take.apply(attended, index)
        counts = self._counts(counts)
        split = zip(experts, x.split(counts), attended.split(counts), strict=True)
        finished = [e.finish(part, a) for e, part, a in split if len(part) or learns]
        return torch.cat(finished) if len(finished) != 1 else finished[0]

    def _counts(self, counts: list[int]) -> list[int]:
        return [sum(counts)] if len(self.experts) == 1 else counts


def attend(q: Tensor, k: Tensor, v: Tensor, layout: Layout, cache: Tensor | None) -> Tensor:
    """The one attention over all modalities: sorted `[tokens, heads, channels]` in, sorted
    `[tokens, width]` out."""
    rows, length = layout.shape
    q, k, v = (layout.unsort(z).view(rows, length, *z.shape[1:]) for z in (q, k, v))
    if cache is not None:
        row = torch.arange(rows, device=k.device)[:, None]
        cache[:, row, :, layout.slots] = torch.stack([k, v], 2).to(cache.dtype)
        k, v = cache[:, :, :, : layout.limit].to(q.dtype).transpose(2, 3).unbind(0)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if layout.bias is not None:
        mixed = plain_attention(q, k, v, layout.bias)
    elif isinstance(layout.mask, BlockMask):
        mixed = flex.attend(q, k, v, layout.mask)
    else:
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=layout.mask, is_causal=layout.mask is None, enable_gqa=q.shape[1] != k.shape[1]
        )
    return layout.sort(mixed.transpose(1, 2).reshape(rows * length, -1))


def plain_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention written out: torch's own takes five times as long backwards in bfloat16 on a CPU.

    Queries `[rows, heads, length, channels]`, keys and values with fewer heads, bias `[rows, 1, length,
    keys]`.
    """
    rows, heads, length, channels = q.shape
    shared = k.shape[1]
    grouped = (q * channels**-0.5).reshape(rows, shared, heads // shared * length, channels)
    weights = (grouped @ k.mT).view(rows, heads, length, -1) + bias
    weights = weights.softmax(-1).view(rows, shared, heads // shared * length, -1)
    return (weights @ v).view(rows, heads, length, channels)
