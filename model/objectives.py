"""The objectives beside next-token prediction that a run asks for, as one list of losses with their weights."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from torch import Tensor

from model import items
from model.adversarial import Adversarial
from model.config import TrainConfig
from model.corpus import Corpus
from model.distil import Distil, Teacher
from model.items import Items
from model.labels import Labels
from model.sequences import Sequences
from model.transformer import Transformer
from storage.snapshot import Snapshot

Shares = list[Items | None]
"""What each objective looks at, in their order."""


class Objective(Protocol):
    """One of them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of its losses."""
        ...

    def weights(self, step: int, steps: int) -> list[float]:
        """Of its losses at a step."""
        ...

    def members(self, step: int) -> np.ndarray:
        """The members of its pool that a step looks at."""
        ...

    def items(self, step: int) -> Items:
        """The same, laid out."""
        ...

    def losses(self, network: Transformer, share: Items, device: str) -> list[Tensor]:
        """Its losses over some of a step's items, as their part in the mean over all of them."""
        ...


def teacher_of(config: TrainConfig, snapshot: Snapshot, corpus: Corpus) -> Teacher | None:
    """The stored vectors to learn from, if that is asked for.

    Raises:
        ConfigError: the snapshot has none.
    """
    asked = config.objectives.distil
    return Teacher.of(snapshot, corpus, config) if asked.weight else None


def network_settings(config: TrainConfig, corpus: Corpus, teacher: Teacher | None) -> dict[str, Any]:
    """What the network needs for them, as settings of ModelConfig."""
    needed: dict[str, Any] = {"classes": corpus.classes} if config.objectives.label.weight else {}
    return needed | ({"teacher_width": teacher.width} if teacher else {})


class Objectives:
    """All of a run.

    Raises:
        ConfigError: the snapshot lacks what one of them needs.
    """

    def __init__(
        self, config: TrainConfig, corpus: Corpus, sequences: Sequences, teacher: Teacher | None
    ) -> None:
        self.corpus, asked = corpus, config.objectives
        self.all: list[Objective] = []
        if asked.label.weight:
            labels = Labels.of(asked.label, corpus, sequences, config.batch.row_length, config.seed)
            self.all.append(labels)
            if asked.adversarial.weight:
                self.all.append(Adversarial.of(asked.adversarial, labels))
        if teacher:
            self.all.append(
                Distil.of(asked.distil, teacher, corpus, sequences, config.batch.row_length, config.seed)
            )

    @property
    def names(self) -> list[str]:
        """Of their losses."""
        return [name for one in self.all for name in one.names]

    def weights(self, step: int, steps: int) -> list[float]:
        """Of their losses at a step."""
        return [weight for one in self.all for weight in one.weights(step, steps)]

    def sample_ids(self, step: int) -> list[list[str]]:
        """The samples that each looks at: what the batch plan records."""
        return [items.names(self.corpus, one.members(step)) for one in self.all]

    def shares(self, step: int, number: int) -> list[Shares]:
        """A step's items, cut into so many shares."""
        cut = [one.items(step).shares(number) for one in self.all]
        return [[parts[i] for parts in cut] for i in range(number)]

    def losses(self, network: Transformer, shares: Shares, device: str) -> list[Tensor]:
        """The losses over a share, as their part in the mean over the whole step."""
        found: list[Tensor] = []
        for one, share in zip(self.all, shares, strict=True):
            none = next(network.parameters()).new_zeros(())
            found += one.losses(network, share, device) if share else [none] * len(one.names)
        return found
