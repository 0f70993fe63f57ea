"""How a batch is computed changes nothing but the last bits: in parts, compiled, or with activations made again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_mask

from model import losses
from model.batches import Batch, Batches
from model.config import BatchConfig, ModelConfig, OptimizerConfig, TrainConfig
from model.corpus import Corpus
from model.flex import tree_rule
from model.lanes import Lanes
from model.optim import Optimizer
from model.parallel import Piece, Workers
from model.tokenizers import Tokenizers
from model.transformer import MATRICES, Transformer

Settings = Callable[..., TrainConfig]
WEIGHTS = [1.0, 0.25]


@pytest.fixture
def batch(corpus: Corpus, tokenizers: Tokenizers) -> Batch:
    config = tokenizers.model_config("tiny")
    drawn = BatchConfig(rows=4, row_length=64, draw_share=0.3)
    return Batches(corpus, drawn, config, tokenizers.vocabulary, 0).batch(0)


@pytest.fixture
def sizes(tokenizers: Tokenizers) -> ModelConfig:
    return tokenizers.model_config("tiny", width=32, depth=2, hidden=64)


def gradients(network: Transformer, batch: Batch, config: TrainConfig, lanes: int = 1) -> dict[str, Tensor]:
    """What `Workers` adds up for a batch."""
    workers = Workers(config, 0, 1, "cpu")
    workers.lanes = Lanes(lanes)
    counts = losses.counts(batch.targets, network.config.offsets)

    def of(piece: Piece) -> list[Tensor]:
        return losses.per_modality(network.targets(piece[0].tokens(), piece[0].targets), counts)

    with workers.lanes:
        pieces: list[Piece] = [(rows, []) for rows in batch.shares(workers.pieces)]
        workers.prepare(network)(of, pieces, WEIGHTS)
    return {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


def network(sizes: ModelConfig) -> Transformer:
    """With random weights everywhere, so that every gradient is one."""
    made = Transformer(sizes).initialise(0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return made


@pytest.mark.parametrize("lanes", [1, 2])
def test_accumulation_adds_up_to_the_whole_batch(
    batch: Batch, sizes: ModelConfig, settings: Settings, lanes: int
) -> None:
    whole = gradients(network(sizes), batch, settings(), lanes)
    parts = gradients(network(sizes), batch, settings(accumulate=2), lanes)
    assert whole.keys() == parts.keys() and len(whole) == len(list(network(sizes).parameters()))
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-6)


def test_recomputed_activations_give_the_same_bits(
    batch: Batch, sizes: ModelConfig, settings: Settings
) -> None:
    kept, again = network(sizes), network(sizes)
    again.recompute = True
    found = gradients(kept, batch, settings()), gradients(again, batch, settings())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.slow
def test_compiled_layers_give_the_same_losses_for_any_number_of_tokens(
    corpus: Corpus, tokenizers: Tokenizers, sizes: ModelConfig
) -> None:
    plain, compiled = network(sizes), network(sizes)
    compiled.compile_experts()
    for rows in (4, 3):
        drawn = BatchConfig(rows=rows, row_length=64, draw_share=0.3)
        batch = Batches(corpus, drawn, sizes, tokenizers.vocabulary, 0).batch(rows)
        found = []
        for one in (plain, compiled):
            one.zero_grad()
            pairs = one.targets(batch.tokens(), batch.targets)
            each = losses.per_modality(pairs, losses.counts(batch.targets, sizes.offsets))
            losses.weighted(each, WEIGHTS).backward()
            found.append((torch.stack(each).detach(), one.layers[0].experts[1].qkv.weight.grad))  # type: ignore[index]
        torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_a_modality_that_is_absent_gets_no_gradient_and_stays_as_it_is(
    batch: Batch, sizes: ModelConfig, settings: Settings
) -> None:
    codes = batch.ids >= sizes.offsets[1]
    text = replace(batch, ids=torch.where(codes, 6, batch.ids), places=torch.zeros_like(batch.places))
    text = replace(text, targets=torch.where(batch.targets >= sizes.offsets[1], -1, batch.targets))
    made = network(sizes)
    optimizer = Optimizer(made, OptimizerConfig(warmup=0), matrices=MATRICES)
    gradients(made, batch, settings())
    optimizer.step(0, 10)  # so that there is a momentum
    before = {name: weight.detach().clone() for name, weight in made.named_parameters()}
    found = gradients(made, text, settings())
    image = [name for name in before if ".experts.1." in name or "embeddings.1" in name]
    assert image and not found.keys() & set(image)
    optimizer.step(1, 10)
    after = dict(made.named_parameters())
    assert all(torch.equal(before[n], after[n]) for n in image)
    assert not torch.equal(before["layers.0.experts.0.up.weight"], after["layers.0.experts.0.up.weight"])


def test_the_norm_that_is_clipped_is_that_of_all_gradients_together(
    batch: Batch, sizes: ModelConfig, settings: Settings
) -> None:
    made = network(sizes)
    optimizer = Optimizer(made, OptimizerConfig(name="adamw", clip=0.5), matrices=MATRICES)
    found = gradients(made, batch, settings(accumulate=4), lanes=2)
    total = torch.cat([gradient.flatten() for gradient in found.values()]).norm()
    torch.testing.assert_close(torch.linalg.vector_norm(optimizer.norms()), total)
    mean = partial(optimizer.adamw.state.__getitem__, "mean.heads.0.weight")
    expected = found["heads.0.weight"] * (0.5 / total) * 0.1
    optimizer.step(0, 10)
    torch.testing.assert_close(mean(), expected, rtol=1e-4, atol=1e-8)


def test_the_document_mask_of_flex_attention_is_the_written_out_one(batch: Batch, sizes: ModelConfig) -> None:
    rule = tree_rule(batch.units, batch.branches, batch.blocks)
    rows, length = batch.ids.shape
    written = create_mask(rule, rows, None, length, length, "cpu")
    assert torch.equal(written, batch.tokens().mask)
    made = network(sizes)
    with torch.no_grad():
        plain, flex = (made.targets(batch.tokens(flex=flex), batch.targets) for flex in (False, True))
    for (a, _), (b, _) in zip(plain, flex, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_lane_computes_on_one_thread_and_leaves_torch_as_it_was(threads: int):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with Lanes(threads):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        with Lanes():
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
