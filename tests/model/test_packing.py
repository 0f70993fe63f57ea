"""Units that share a row share nothing else: neither logits nor losses know of what lies beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.batches import Batch, Batches
from model.config import BatchConfig
from model.corpus import Corpus
from model.generate import Model
from model.losses import counts, per_modality
from model.tokenizers import Tokenizers
from tests.model.reading import VARIANTS, make_model


@pytest.fixture(params=VARIANTS, scope="module")
def model(request: pytest.FixtureRequest, tokenizers: Tokenizers) -> Model:
    return make_model(tokenizers, **VARIANTS[request.param])


def packed(model: Model, corpus: Corpus, step: int) -> Batch:
    config = BatchConfig(rows=2, row_length=100, draw_share=0.4, caption_dropout=0.3)
    return Batches(corpus, config, model.network.config, model.sequences.vocabulary, seed=0).batch(step)


def changed(model: Model, batch: Batch, row: int, unit: int) -> Batch:
    """The batch with every word and every code of one unit another one; its form stays."""
    ids, low = batch.ids.clone(), model.network.config.offsets[1]
    own, specials = batch.units[row] == unit, max(model.sequences.vocabulary.specials.values())
    ids[row] = torch.where(
        own & (ids[row] >= low), low + (ids[row] - low + 7) % (model.network.config.size - low), ids[row]
    )
    words = own & (batch.ids[row] < low) & (batch.ids[row] > specials)
    ids[row] = torch.where(words, specials + 1 + (ids[row] - specials) % (low - specials - 1), ids[row])
    return replace(batch, ids=ids)


@torch.no_grad()
def test_changing_one_unit_changes_no_logit_of_another(model: Model, corpus: Corpus) -> None:
    asked = 0
    for step in range(2):
        batch = packed(model, corpus, step)
        before = model.network(batch.tokens())
        for row in range(2):
            for unit in range(int(batch.units[row].max()) + 1):
                other = changed(model, batch, row, unit)
                after = model.network(other.tokens())
                own = torch.zeros_like(batch.units, dtype=torch.bool)
                own[row] = batch.units[row] == unit
                assert torch.equal(before[~own], after[~own])
                assert not torch.equal(before[own], after[own])
                asked += 1
    assert asked > 6


def alone(batch: Batch, row: int, unit: int) -> Batch:
    """One unit as a batch of its own."""
    own = batch.units[row] == unit
    return Batch(**{name: column[row, own][None] for name, column in vars(batch).items()})


def summed(model: Model, batch: Batch) -> Tensor:
    """The loss of each modality, added up over tokens."""
    pairs = model.network.targets(batch.tokens(), batch.targets)
    return torch.stack(per_modality(pairs, [1] * len(pairs)))


@torch.no_grad()
def test_the_loss_of_a_packed_batch_is_that_of_its_units_apart(model: Model, corpus: Corpus) -> None:
    for step in range(2):
        batch = packed(model, corpus, step)
        assert min(counts(batch.targets, model.network.config.offsets)) > 0
        units = [(row, unit) for row in range(2) for unit in range(int(batch.units[row].max()) + 1)]
        apart = torch.stack([summed(model, alone(batch, *which)) for which in units]).sum(0)
        torch.testing.assert_close(summed(model, batch), apart, rtol=1e-4, atol=1e-4)


def test_gradients_do_not_reach_another_unit(model: Model, corpus: Corpus) -> None:
    """Through the embeddings of what only the other unit says."""
    batch = packed(model, corpus, 0)
    own = (batch.units == 0) & (torch.arange(2)[:, None] == 0)
    weights = [module.ids.requires_grad_() for module in model.network.embeddings]
    logits = model.network(batch.tokens())[own]
    logits[torch.isfinite(logits)].square().sum().backward()
    said = set(batch.ids[own].tolist())
    low = model.network.config.offsets[1]
    for first, weight in zip((0, low), weights, strict=True):
        reached = {first + int(i) for i in weight.grad.abs().sum(1).nonzero()}
        assert reached <= said
        weight.requires_grad_(False).grad = None
