"""Both optimizers keep their promises, and so does the schedule."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from model.config import OptimizerConfig
from model.losses import per_modality, weighted
from model.optim import Optimizer, orthogonal, schedule


def test_muons_update_has_singular_values_near_one() -> None:
    matrices = torch.randn(3, 24, 16, generator=torch.Generator().manual_seed(0))
    for bf16 in (False, True):
        values = torch.linalg.svdvals(orthogonal(matrices, bf16=bf16))
        assert values.min() > 0.6 and values.max() < 1.3
    assert torch.allclose(orthogonal(matrices, bf16=False).mT, orthogonal(matrices.mT, bf16=False), atol=1e-4)


def test_adamw_is_torchs_own() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    config = OptimizerConfig(name="adamw", lr=0.01, schedule="constant", warmup=0, clip=0.0)
    mine = Optimizer(ours, config, matrices=())
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=config.betas, weight_decay=0.0)
    for step in range(5):
        x = torch.randn(7, 5)
        for network in (ours, theirs):
            network(x).square().mean().backward()
        mine.step(step, 5)
        reference.step()
        reference.zero_grad()
    torch.testing.assert_close(ours.weight, theirs.weight)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_saved_state_goes_on_bit_by_bit(name: str) -> None:
    config = OptimizerConfig(name=name, warmup=3, weight_decay=0.1)

    def run(network: nn.Module, optimizer: Optimizer, first: int, last: int) -> None:
        for step in range(first, last):
            x = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
            (network(x) - x).square().mean().backward()
            optimizer.step(step, 20)

    def fresh() -> tuple[nn.Module, Optimizer]:
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))
        return network, Optimizer(network, config, matrices=("0.", "2."))

    whole, first, second = fresh(), fresh(), fresh()
    run(*whole, 0, 20)
    run(*first, 0, 9)
    second[0].load_state_dict({k: v.clone() for k, v in first[0].state_dict().items()})
    second[1].load({k: v.clone() for k, v in first[1].state().items()})
    run(*second, 9, 20)
    for a, b in zip(whole[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_step_size_rises_holds_and_falls() -> None:
    config = OptimizerConfig(warmup=10, warmdown=0.5, final=0.1)
    sizes = [schedule(config, step, 100) for step in range(100)]
    assert sizes[0] == 0.1 and sizes[10] == sizes[50] == 1.0 and 0.1 < sizes[99] < 0.13
    assert all(a >= b for a, b in itertools.pairwise(sizes[10:]))
    cosine = config.model_copy(update={"schedule": "cosine"})
    assert 0.54 < schedule(cosine, 50, 100) < 0.56
    assert schedule(config.model_copy(update={"schedule": "constant"}), 99, 100) == 1.0


def test_each_modality_is_averaged_apart() -> None:
    certain = torch.tensor([[50.0, 0.0], [50.0, 0.0]])
    pairs = [
        (certain, torch.tensor([0, 1])),
        (torch.zeros(3, 4), torch.tensor([0, 1, 2])),
        (torch.zeros(0, 4), torch.zeros(0).long()),
    ]
    losses = per_modality(pairs, [len(targets) for _, targets in pairs])
    assert [round(float(loss), 3) for loss in losses] == [25.0, 1.386, 0.0]
    assert round(float(weighted(losses, [1.0, 0.5, 1.0])), 3) == 25.693
