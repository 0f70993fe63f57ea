"""AdamW, and Muon for the matrices inside the layers; step sizes as a function of the step alone.

The state is a flat dictionary of named tensors, so that it is saved as safetensors and comes back bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from model import sharded
from model.config import OptimizerConfig
from model.lanes import Lanes
from model.sharded import local

QUINTIC = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""Coefficients of the five Newton-Schulz steps that push all singular values of a matrix towards 1."""
EPSILON = 1e-8


def schedule(config: OptimizerConfig, step: int, steps: int) -> float:
    """The step size at a step (from 0) of a run, relative to its peak."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "constant":
        return warm
    if config.schedule == "cosine":
        shape = 0.5 * (1 + math.cos(math.pi * step / steps))
    else:
        shape = min(1.0, (steps - step) / max(1.0, config.warmdown * steps))
    return warm * (config.final + (1 - config.final) * shape)


class Optimizer:
    """All of a network's weights, each under the rule that fits it: with Muon, the matrices whose name
    contains one of `matrices` are Muon's."""

    def __init__(
        self,
        network: nn.Module,
        config: OptimizerConfig,
        *,
        matrices: tuple[str, ...],
        bf16: bool = False,
        lanes: Lanes | None = None,
    ) -> None:
        self.config = config
        weights = dict(network.named_parameters())
        inside = {
            n
            for n, w in weights.items()
            if config.name == "muon" and w.dim() == 2 and any(m in n for m in matrices)
        }
        self.adamw = AdamW({n: w for n, w in weights.items() if n not in inside}, config)
        self.muon = Muon({n: w for n, w in weights.items() if n in inside}, config, bf16=bf16, lanes=lanes)
        self.weights = list(weights.values())

    def norms(self) -> Tensor:
        """Norm of each weight's gradient, over all workers; 0 where there is none."""
        return sharded.norms([weight.grad for weight in self.weights])

    def step(self, step: int, steps: int, norms: Tensor | None = None) -> None:
        """Updates the weights by their gradients, whose `norms` may be known already, and drops those."""
        scale = schedule(self.config, step, steps)
        norms = self.norms() if norms is None else norms
        if self.config.clip:
            there = [at for at, weight in enumerate(self.weights) if weight.grad is not None]
            factor = (self.config.clip / (torch.linalg.vector_norm(norms[there]) + 1e-6)).clamp(max=1.0)
            for weight in self.weights:
                if weight.grad is not None:
                    local(weight.grad).mul_(factor)
        self.muon.leave_out(
            weight for weight, norm in zip(self.weights, norms.tolist(), strict=True) if not norm
        )
        self.adamw.step(self.config.lr * scale)
        self.muon.step(self.config.matrix_lr * scale, step)
        self.forget()

    def forget(self) -> None:
        """Drops the gradients."""
        for weight in self.weights:
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """What must be saved to go on as if nothing had happened."""
        return {**self.adamw.state, **self.muon.state}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        sharded.load(self.state(), state)


class AdamW:
    """Adam with decoupled weight decay (on matrices only); a weight without a gradient is left as it is."""

    def __init__(self, weights: Mapping[str, Tensor], config: OptimizerConfig) -> None:
        self.weights, self.config = weights, config
        self.state: dict[str, Tensor] = {}
        for name, weight in weights.items():
            self.state[f"mean.{name}"] = torch.zeros_like(weight, requires_grad=False)
            self.state[f"square.{name}"] = torch.zeros_like(weight, requires_grad=False)
            self.state[f"steps.{name}"] = torch.zeros((), dtype=torch.float32, device=weight.device)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        decayed = [n for n, w in self.weights.items() if w.grad is not None and w.dim() >= 2]
        plain = [n for n, w in self.weights.items() if w.grad is not None and w.dim() < 2]
        for names, decay in ((decayed, self.config.weight_decay), (plain, 0.0)):
            if not names:
                continue
            weights = [local(self.weights[n]) for n in names]
            means, squares, steps = (
                [local(self.state[f"{kind}.{n}"]) for n in names] for kind in ("mean", "square", "steps")
            )
            torch._foreach_add_(steps, 1.0)
            torch._fused_adamw_(
                weights,
                [gradient(self.weights[n]) for n in names],
                means,
                squares,
                [],
                steps,
                lr=lr,
                beta1=self.config.betas[0],
                beta2=self.config.betas[1],
                weight_decay=decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )


class Muon:
    """Momentum whose update is made orthogonal; matrices of one shape go through it together."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        config: OptimizerConfig,
        *,
        bf16: bool,
        lanes: Lanes | None = None,
    ) -> None:
        self.config, self.bf16, self.lanes = config, bf16, lanes or Lanes()
        self.groups: dict[str, list[Tensor]] = {}
        for weight in weights.values():
            self.groups.setdefault(f"momentum.{weight.shape[0]}x{weight.shape[1]}", []).append(weight)
        self.state = {name: sharded.stacked(group) for name, group in self.groups.items()}

    def leave_out(self, weights: Iterable[Tensor]) -> None:
        """Leaves these as they are in the next step: of a gradient of zero it would make a whole step along the last
        ones."""
        ours = {id(weight) for group in self.groups.values() for weight in group}
        for weight in weights:
            if id(weight) in ours:
                weight.grad = None

    @torch.no_grad()
    def step(self, lr: float, step: int) -> None:
        warm = min(1.0, step / self.config.momentum_warmup) if self.config.momentum_warmup else 1.0
        momentum = 0.85 + (self.config.momentum - 0.85) * warm
        for name, group in self.groups.items():
            here = [i for i, weight in enumerate(group) if weight.grad is not None]
            if not here:
                continue
            gradients = torch.stack([gradient(group[i]) for i in here])
            state = local(self.state[name])
            mean = state if len(here) == len(group) else state[here]
            mean.lerp_(gradients, 1 - momentum)
            if len(here) < len(group):
                state[here] = mean
            update = sharded.each_matrix(gradients.lerp(mean, momentum), group[0], self._orthogonal)
            size = lr * max(1.0, group[0].shape[0] / group[0].shape[1]) ** 0.5
            for i, change in zip(here, update, strict=True):
                local(group[i]).mul_(1 - lr * self.config.weight_decay).sub_(change, alpha=size)

    def _orthogonal(self, matrices: Tensor) -> Tensor:
        pieces = matrices.chunk(self.lanes.number)
        return torch.cat(list(self.lanes.each(partial(orthogonal, bf16=self.bf16), pieces)))


def gradient(weight: Tensor) -> Tensor:
    """This worker's part of the gradient of a weight that has one."""
    assert weight.grad is not None
    return local(weight.grad)


def orthogonal(matrices: Tensor, *, bf16: bool) -> Tensor:
    """The nearest (roughly) orthogonal matrix of each of `[n, rows, columns]`."""
    x = matrices.bfloat16() if bf16 else matrices
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for a, b, c in QUINTIC:
        y = x @ x.mT
        x = a * x + (b * y + c * (y @ y)) @ x
    return (x.mT if tall else x).float()
