"""Virtual adversarial training: what the label head says must hold in a small ball around each item's embeddings.

Miyato, Maeda, Koyama, Ishii, "Virtual Adversarial Training: A Regularization Method for Supervised and Semi-Supervised
Learning", 2017 (arXiv 1704.03976), with one power iteration; in float32, since the direction is looked for where two
answers hardly differ. The radius is relative to the embeddings' norm: they are learned, and could outgrow a fixed one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model import items
from model.corpus import Corpus
from model.items import Items, Pool
from model.labels import Labels, classify
from model.objectives_config import AdversarialConfig
from model.plan import philox
from model.transformer import Transformer, exact

ORDER, NOISE = 9, 17
"""Numbers of its random streams: the pool's walk, the directions."""
Answers = Callable[[Tensor | None], Tensor]
"""A perturbation of the embeddings `[rows, length, width]` to class logits `[rows, classes]`."""


@dataclass(frozen=True)
class Adversarial:
    """The objective on items with or without a label, of the kinds that have labels."""

    config: AdversarialConfig
    labels: Labels
    pool: Pool

    @classmethod
    def of(cls, config: AdversarialConfig, labels: Labels) -> Adversarial:
        corpus: Corpus = labels.corpus
        members = items.everything(corpus)
        pictured = labels.pool.members >= 0
        kept = ((members >= 0) & pictured.any()) | ((members < 0) & ~pictured.all())
        return cls(config, labels, Pool(members[kept], ORDER))

    names = ("adversarial", "entropy")

    def weights(self, step: int, steps: int) -> list[float]:
        up = ramp(step, steps, self.config.ramp)
        return [self.config.weight * up, self.config.entropy * up]

    def members(self, step: int) -> np.ndarray:
        number = max(1, round(self.config.share * self.labels.config.items))
        return self.pool.draw(self.labels.seed, step, number)

    def items(self, step: int) -> Items:
        members = self.members(step)
        batch = items.laid_out(self.labels.corpus, self.labels.sequences, members, self.labels.longest)
        shape = (*batch.ids.shape, self.labels.sequences.config.width)
        noise = philox(self.labels.seed, NOISE, step).standard_normal(shape, np.float32)
        return Items(batch, items.as_rows({"noise": noise}), len(members))

    def losses(self, network: Transformer, share: Items, device: str) -> list[Tensor]:
        """Their part in the mean divergence and the mean entropy of the step's items, nats."""
        own = items.own(share.batch).to(device)

        def answers(shift: Tensor | None) -> Tensor:
            return classify(network, share, device, shift)

        with exact():
            with torch.no_grad():
                embedded = network.embedded(share.batch.tokens(device))
                size = norm(embedded * own[..., None])
            noise = share.wanted["noise"].to(device) * own[..., None]
            divergence, entropy = smoothness(answers, noise, size, self.config)
        return [divergence / share.total, entropy / share.total]


def smoothness(
    answers: Answers, noise: Tensor, size: Tensor, config: AdversarialConfig
) -> tuple[Tensor, Tensor]:
    """Sums over rows of KL(answers || answers within the radius) and of the answers' entropy.

    Args:
        noise: normal numbers of the embeddings' shape, 0 at padding.
        size: norms of the embeddings `[rows, 1, 1]`.
    """
    with torch.set_grad_enabled(config.entropy > 0):
        clean = answers(None)
    fixed = clean.detach()
    way = unit(noise)
    if config.direction == "adversarial":
        way = direction(lambda shift: divergence(fixed, answers(shift)), way, size * config.probe)
    entropy = -(clean.softmax(-1) * clean.log_softmax(-1)).sum()
    return divergence(fixed, answers(way * size * config.radius)).sum(), entropy


def direction(of: Callable[[Tensor], Tensor], start: Tensor, size: Tensor) -> Tensor:
    """The unit direction of each row in which `of` (divergence of a perturbation) grows fastest: one power iteration from
    unit directions `start`, its gradient taken at norm `size`. A row without a gradient keeps its start."""
    shift = (start * size).requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(of(shift).sum(), shift)
    return torch.where(gradient.abs().amax((1, 2), keepdim=True) > 0, unit(gradient), start)


def divergence(fixed: Tensor, moved: Tensor) -> Tensor:
    """KL(fixed || moved) of logits `[rows, classes]`: nats `[rows]`."""
    return F.kl_div(moved.log_softmax(-1), fixed.log_softmax(-1), log_target=True, reduction="none").sum(-1)


def norm(x: Tensor) -> Tensor:
    """Euclidean norm of each row: `[rows, 1, 1]`."""
    return x.flatten(1).norm(dim=1)[:, None, None]


def unit(x: Tensor) -> Tensor:
    """Each row at norm 1; the largest number is taken out first, for squares of tiny gradients are 0 in float32."""
    x = x / x.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    return x / norm(x).clamp(min=1e-12)


def ramp(step: int, steps: int, share: float) -> float:
    """How far a weight has risen at a step (from 0) of a run, in whose first share it rises linearly from 0 to 1."""
    return min(1.0, (step + 1) / max(1.0, share * steps))
