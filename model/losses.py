"""What training minimises: next-token cross-entropy, averaged within each modality."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor


def counts(targets: Tensor, offsets: Sequence[int]) -> list[int]:
    """How many targets each modality has; `offsets` are the first ids of the modalities and the end of the last."""
    return [int(((targets >= low) & (targets < high)).sum()) for low, high in pairwise(offsets)]


def per_modality(
    pairs: Sequence[tuple[Tensor, Tensor]], counts: Sequence[int], smoothing: float = 0.0
) -> list[Tensor]:
    """Cross-entropy (nats) of each modality's logits `[n, size]` and targets `[n]` (-1: none), summed and divided by its
    count: rows that make up a batch add up to the mean over its tokens."""
    losses = []
    for (logits, targets), count in zip(pairs, counts, strict=True):
        if len(targets):
            total = F.cross_entropy(
                logits.float(), targets, ignore_index=-1, label_smoothing=smoothing, reduction="sum"
            )
            losses.append(total / max(count, 1))
        else:
            losses.append(logits.float().sum())
    return losses


def weighted(losses: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The one number to minimise: the modalities' losses by their weights."""
    return torch.stack([loss * weight for loss, weight in zip(losses, weights, strict=True)]).sum()
