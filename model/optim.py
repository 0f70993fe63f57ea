"""AdamW, and Muon for the matrices inside the layers; step sizes as a function of the step alone.

The state is a flat dictionary of named tensors, so that it is saved as safetensors and comes back bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from model.config import OptimizerConfig
from model.lanes import Lanes

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

    def step(self, step: int, steps: int) -> None:
        """Updates the weights by their gradients, and drops those."""
        scale = schedule(self.config, step, steps)
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.weights, self.config.clip, foreach=False)
        self.adamw.step(self.config.lr * scale)
        self.muon.step(self.config.matrix_lr * scale, step)
        for weight in self.weights:
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """What must be saved to go on as if nothing had happened."""
        return {**self.adamw.state, **self.muon.state}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


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
            weights = [self.weights[n] for n in names]
            means, squares, steps = (
                [self.state[f"{kind}.{n}"] for n in names] for kind in ("mean", "square", "steps")
            )
            torch._foreach_add_(steps, 1.0)
            torch._fused_adamw_(
                weights,
                [gradient(w) for w in weights],
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
        self.config, self.bf16, self.lanes = config, bf16, lanes or Lanes(1)
        self.groups: dict[str, list[Tensor]] = {}
        for weight in weights.values():
            self.groups.setdefault(f"momentum.{weight.shape[0]}x{weight.shape[1]}", []).append(weight)
        self.state = {
            name: torch.zeros_like(torch.stack(group), requires_grad=False)
            for name, group in self.groups.items()
        }

    @torch.no_grad()
    def step(self, lr: float, step: int) -> None:
        warm = min(1.0, step / self.config.momentum_warmup) if self.config.momentum_warmup else 1.0
        momentum = 0.85 + (self.config.momentum - 0.85) * warm
        for name, group in self.groups.items():
            here = [i for i, weight in enumerate(group) if weight.grad is not None]
            if not here:
                continue
            gradients = torch.stack([gradient(group[i]) for i in here])
            mean = self.state[name] if len(here) == len(group) else self.state[name][here]
            mean.lerp_(gradients, 1 - momentum)
            if len(here) < len(group):
                self.state[name][here] = mean
            pieces = gradients.lerp(mean, momentum).chunk(self.lanes.number)
            update = torch.cat(list(self.lanes.each(partial(orthogonal, bf16=self.bf16), pieces)))
            size = lr * max(1.0, gradients.shape[1] / gradients.shape[2]) ** 0.5
            for i, change in zip(here, update, strict=True):
                group[i].mul_(1 - lr * self.config.weight_decay).sub_(change, alpha=size)


def gradient(weight: Tensor) -> Tensor:
    """The gradient of a weight that has one."""
    assert weight.grad is not None
    return weight.grad


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
