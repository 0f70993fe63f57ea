"""What training minimises: next-token cross-entropy, averaged within each modality."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def per_modality(pairs: Sequence[tuple[Tensor, Tensor]], smoothing: float = 0.0) -> list[Tensor]:
    """Mean cross-entropy (nats per token) of each modality's logits `[n, size]` and targets `[n]`; 0 where n
    is 0."""
    losses = []
    for logits, targets in pairs:
        if len(targets):
            losses.append(F.cross_entropy(logits.float(), targets, label_smoothing=smoothing))
        else:
            losses.append(logits.float().sum())
    return losses


def weighted(losses: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The one number to minimise: the modalities' losses by their weights."""
    return torch.stack([loss * weight for loss, weight in zip(losses, weights, strict=True)]).sum()
