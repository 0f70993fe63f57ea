"""The loss on rows that training never saw: batches as in training, drawn from a fixed seed, and nothing learned."""

from __future__ import annotations

import torch

from model import losses
from model.batches import Batches
from model.config import BatchConfig
from model.corpus import Corpus
from model.generate import Model

BATCHES = 16
SEED = 0
"""Of the batches, whatever seed the model was trained from: all models are asked the same."""


@torch.inference_mode()
def held_out_losses(
    model: Model, corpus: Corpus, config: BatchConfig, batches: int = BATCHES
) -> dict[str, float]:
    """Mean cross-entropy per token of each modality, nats, over so many batches of the corpus; none of one that has no token
    there to be predicted."""
    network, vocabulary = model.network, model.sequences.vocabulary
    drawn = Batches(corpus, config, network.config, vocabulary, SEED)
    names = [modality.name for modality in network.config.modalities]
    totals, tokens = (
        torch.zeros(len(names), dtype=torch.float64),
        torch.zeros(len(names), dtype=torch.float64),
    )
    for step in range(batches):
        batch = drawn.batch(step)
        pairs = network.targets(batch.tokens(str(model.device)), batch.targets.to(model.device))
        found = losses.per_modality(pairs, [1] * len(names))  # sums, for the mean is over all batches
        count = losses.counts(batch.targets, network.config.offsets)
        present = torch.tensor(count) > 0
        totals += torch.where(present, torch.stack([loss.detach().double().cpu() for loss in found]), 0.0)
        tokens += torch.tensor(count, dtype=torch.float64)
    means = zip(names, totals.tolist(), tokens.tolist(), strict=True)
    return {name: total / number for name, total, number in means if number}
