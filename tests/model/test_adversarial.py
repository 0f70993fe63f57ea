"""Virtual adversarial training: the direction is that of the steepest divergence, and hurts more than noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from model import items
from model.adversarial import direction, divergence, norm, smoothness, unit
from model.config import TrainConfig
from model.items import Items
from model.labels import classify
from model.objectives_config import AdversarialConfig
from model.plan import philox
from model.train import Run
from storage.snapshot import Snapshot
from storage.store import Store

Settings = Callable[..., TrainConfig]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_direction_of_a_quadratic_is_its_matrix_times_the_start() -> None:
    """Closed form: of r'Ar/2 the gradient at ξd is ξAd, so one iteration from d gives Ad at norm 1."""
    matrix = normal(3, 12, 12).double()
    matrix = matrix @ matrix.mT
    start = unit(normal(3, 4, 3, seed=1).double())

    def bowl(shift: Tensor) -> Tensor:
        flat = shift.flatten(1)
        return 0.5 * (flat[:, None] @ matrix @ flat[:, :, None]).flatten()

    found = direction(bowl, start, torch.full((3, 1, 1), 0.01, dtype=torch.float64))
    wanted = unit((matrix @ start.flatten(1)[:, :, None]).view(3, 4, 3))
    torch.testing.assert_close(found, wanted)


def test_a_flat_row_keeps_its_start_and_tiny_gradients_count() -> None:
    start = unit(normal(2, 4, 3))
    scale = torch.tensor([0.0, 1e-30])
    found = direction(lambda shift: shift[:, 0, 0] * scale, start, torch.ones(2, 1, 1))
    assert torch.equal(found[0], start[0])
    assert found[1, 0, 0] == 1 and found[1].count_nonzero() == 1


def test_the_divergence_is_that_of_the_textbook() -> None:
    a, b = normal(5, 4), normal(5, 4, seed=1)
    p, q = a.softmax(-1), b.softmax(-1)
    torch.testing.assert_close(divergence(a, b), (p * (p / q).log()).sum(-1))
    assert divergence(a, a).abs().max() < 1e-6


def test_gradients_are_those_of_finite_differences() -> None:
    """Of the loss with the direction held fixed, as the method has it, and of the entropy."""
    weight = normal(6, 4).double().requires_grad_()
    x, noise = normal(3, 2, 3, seed=1).double(), normal(3, 2, 3, seed=2).double()

    def answers(shift: Tensor | None) -> Tensor:
        return (x if shift is None else x + shift).flatten(1).sin() @ weight

    config = AdversarialConfig(weight=1.0, entropy=1.0, radius=0.5)
    size = norm(x)
    moved, entropy = smoothness(answers, noise, size, config)
    (gradient,) = torch.autograd.grad(moved + entropy, weight)
    with torch.no_grad():
        fixed = answers(None)
        way = direction(lambda s: divergence(fixed, answers(s)), unit(noise), size * config.probe)
        for i, j in ((0, 0), (3, 2), (5, 3)):
            ends = []
            for sign in (1, -1):
                weight[i, j] += sign * 1e-5
                clean = answers(None)
                entropies = -(clean.softmax(-1) * clean.log_softmax(-1)).sum()
                ends.append(divergence(fixed, answers(way * size * config.radius)).sum() + entropies)
                weight[i, j] -= sign * 1e-5
            assert abs(float(ends[0] - ends[1]) / 2e-5 - float(gradient[i, j])) < 1e-6


@pytest.fixture
def trained(tiny_store: tuple[Store, Snapshot], settings: Settings) -> Run:
    """A network whose label head knows dark pictures from light ones."""
    config = settings(
        steps=40,
        precision="fp32",
        batch={"rows": 0, "row_length": 64},
        objectives={"label": {"weight": 1.0, "items": 12}},
        optimizer={"name": "adamw", "lr": 0.01, "warmup": 5},
    )
    run = Run(*tiny_store, config, "r")
    for step in range(40):
        run.step(step, 40)
    return run


def test_it_raises_the_divergence_more_than_noise_of_equal_norm(trained: Run) -> None:
    corpus, sequences = trained.objectives.corpus, trained.batches.sequences
    members = np.arange(24)
    batch = items.laid_out(corpus, sequences, members, 64)
    own = items.own(batch)
    noise = (
        torch.from_numpy(philox(0, 17, 0).standard_normal((*batch.ids.shape, 16), np.float32))
        * own[..., None]
    )
    share = Items(batch, {}, 24)
    size = norm(trained.network.embedded(batch.tokens()) * own[..., None]).detach()
    shifts: list[Tensor] = []

    def answers(shift: Tensor | None) -> Tensor:
        if shift is not None:
            shifts.append(shift.detach())
        return classify(trained.network, share, "cpu", shift)

    found = {}
    for way in ("adversarial", "random"):
        config = AdversarialConfig(weight=1.0, direction=way, radius=0.2)
        found[way] = float(smoothness(answers, noise, size, config)[0].detach())
        torch.testing.assert_close(norm(shifts[-1]), 0.2 * size)
        assert not shifts[-1][~own].any(), "padding stays as it is"
    assert found["adversarial"] > 5 * found["random"] > 0


def test_it_makes_the_answers_hold_in_the_neighbourhood(trained: Run) -> None:
    """A few steps of the objective lower the very divergence that it measures."""
    from model.adversarial import Adversarial

    labels = trained.objectives.all[0]
    adversarial = Adversarial.of(AdversarialConfig(weight=1.0, share=2.0, radius=1.0, ramp=0.0), labels)
    before = adversarial.losses(trained.network, adversarial.items(99), "cpu")[0]
    trained.objectives.all.append(adversarial)
    for step in range(15):
        trained.step(step, 40)
    after = adversarial.losses(trained.network, adversarial.items(99), "cpu")[0]
    assert float(after.detach()) < 0.5 * float(before.detach()) > 0.005
