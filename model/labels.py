"""The supervised label head: which class a picture, or a text that stands alone, belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model import items
from model.config import ConfigError
from model.corpus import Corpus
from model.evaluate import Score, interval
from model.generate import Model
from model.items import Items, Pool
from model.objectives_config import LabelConfig
from model.plan import philox
from model.sequences import Sequences
from model.transformer import Transformer

ROWS = 256
"""Items that are asked at once."""
ORDER, CHOICE = 8, 16
"""Numbers of its random streams: the pool's walk, which labels are used."""


@dataclass(frozen=True)
class Labels:
    """Cross-entropy on the labelled items of a step."""

    config: LabelConfig
    corpus: Corpus
    sequences: Sequences
    longest: int
    seed: int
    pool: Pool

    @classmethod
    def of(cls, config: LabelConfig, corpus: Corpus, sequences: Sequences, longest: int, seed: int) -> Labels:
        """Draws the labels that are used.

        Raises:
            ConfigError: no row of the corpus has a label.
        """
        members = items.everything(corpus)
        found = items.labels(corpus, members)
        kept = chosen(found, config.per_class, seed)
        if not len(kept):
            raise ConfigError(
                "[train.objectives.label] the snapshot's training rows have no label: name the source's column "
                '(columns = {label = "…"}), or set weight = 0'
            )
        return cls(config, corpus, sequences, longest, seed, Pool(members[kept], ORDER))

    names = ("label",)

    def weights(self, step: int, steps: int) -> list[float]:
        return [self.config.weight]

    def members(self, step: int) -> np.ndarray:
        return self.pool.draw(self.seed, step, self.config.items)

    def items(self, step: int) -> Items:
        members = self.members(step)
        batch = items.laid_out(self.corpus, self.sequences, members, self.longest)
        return Items(batch, items.as_rows({"label": items.labels(self.corpus, members)}), len(members))

    def losses(self, network: Transformer, share: Items, device: str) -> list[Tensor]:
        """Their part in the mean cross-entropy of the step's items, nats."""
        logits = classify(network, share, device)
        return [F.cross_entropy(logits, share.wanted["label"].to(device), reduction="sum") / share.total]


def classify(network: Transformer, share: Items, device: str, shift: Tensor | None = None) -> Tensor:
    """Class logits `[rows, classes]`, float32."""
    return network.classify(share.batch.tokens(device), items.own(share.batch).to(device), shift)


def chosen(labels: np.ndarray, per_class: int | None, seed: int) -> np.ndarray:
    """Indices of the labels `[n]` (-1 for none) that are used: all, or so many of each class drawn by the seed."""
    labelled = np.flatnonzero(labels >= 0)
    if per_class is None:
        return labelled
    drawn = philox(seed, CHOICE, 0).permutation(labelled)
    order = drawn[np.argsort(labels[drawn], kind="stable")]
    sorted_labels = labels[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_labels, sorted_labels)
    return np.sort(order[place < per_class])


def label_scores(model: Model, corpus: Corpus, most: int, longest: int) -> list[Score]:
    """The share of up to `most` labelled items of a held-out corpus whose class the label head names, and what always
    naming the most frequent class would reach; none without a label head or labels. A class that it was never taught is
    missed."""
    if model.network.label_head is None:
        return []
    members = items.everything(corpus)
    members = members[items.labels(corpus, members) >= 0]
    members = np.random.Generator(np.random.Philox(0)).permutation(members)[:most]
    if not len(members):
        return []
    theirs = np.array(corpus.classes)[items.labels(corpus, members)]
    known = np.array(model.network.config.classes)
    said = known[predicted(model, corpus, members, longest)]
    names, counts = np.unique(theirs, return_counts=True)
    found = {"accuracy": said == theirs, "most_frequent_accuracy": theirs == names[counts.argmax()]}
    return [
        Score("label", metric, "all", *interval(right.tolist()), len(members))
        for metric, right in found.items()
    ]


@torch.inference_mode()
def predicted(model: Model, corpus: Corpus, members: np.ndarray, longest: int) -> np.ndarray:
    """The likeliest class of each member: int64."""
    found = [np.zeros(0, np.int64)]
    for start in range(0, len(members), ROWS):
        batch = items.laid_out(corpus, model.sequences, members[start : start + ROWS], longest)
        logits = classify(model.network, Items(batch, {}, 0), str(model.device))
        found.append(logits.argmax(1).cpu().numpy())
    return np.concatenate(found)
