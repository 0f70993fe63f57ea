"""How the next token is chosen from its logits."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from storage.settings import Settings

Modalities = Literal["text", "image", "mixed"]


class Sampling(Settings):
    """How the next token is chosen."""

    temperature: float = Field(default=0.0, ge=0, description="0 takes the likeliest token")
    top_k: int | None = Field(default=None, ge=1, description="Only the k likeliest")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Only the likeliest that make up this share")
    guidance: float = Field(
        default=1.0, ge=0, description="Weight of the caption against no caption, for pictures; 1 is none"
    )
    seed: int = 0
    max_tokens: int = Field(default=96, ge=1, description="Most new tokens of a row")
    modalities: Modalities = Field(
        default="mixed",
        description="What may come out: text alone, one picture, or text in which the model opens pictures",
    )


def guide(wished: Tensor, free: Tensor, weight: float | Tensor) -> Tensor:
    """Classifier-free guidance on logits `[rows, ids]`, where the head is on; `weight` may be one for each row `[rows, 1]`."""
    on = torch.isfinite(wished)
    moved = torch.where(on, free, 0.0) + weight * torch.where(on, wished - free, 0.0)
    return torch.where(on, moved, wished)


def choose(logits: Tensor, sampling: Sampling, uniform: Tensor | None) -> list[int]:
    """The next id of each row, from one number in [0, 1) a row; the likeliest if there is none."""
    if uniform is None:
        on_cpu = logits.device.type == "cpu"  # where NumPy finds it in a fraction of torch's time
        return (logits.numpy() if on_cpu else logits).argmax(-1).tolist()
    values, ids = logits / sampling.temperature, None
    if sampling.top_k and sampling.top_k < values.shape[-1]:
        values, ids = values.topk(sampling.top_k)
    elif sampling.top_p < 1:
        values, ids = values.sort(descending=True, stable=True)
    shares = values.softmax(-1)
    if sampling.top_p < 1:
        before = shares.cumsum(-1) - shares
        shares = torch.where(before < sampling.top_p, shares, 0.0)
    reached = shares.cumsum(-1)
    wanted = uniform.to(reached)[:, None] * reached[:, -1:]
    place = (reached <= wanted).sum(-1, keepdim=True).clamp(max=shares.shape[-1] - 1)
    return (place if ids is None else ids.gather(1, place)).squeeze(1).tolist()
