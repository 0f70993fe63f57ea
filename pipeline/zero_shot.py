"""Judging stored vectors of pictures by words alone: nothing is trained, a text's vector stands for what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.step import Annotator, Step, StepError

MODEL = "image_text_model"


class NeedsPretrainedModel(StepError):
    """A step asks of the filtering network what only a model knows that has seen the world."""


class WorldlyAnnotator(Annotator):
    """Judges pictures by concepts that a model must have learned elsewhere."""

    def model(self, models: Mapping[str, Any]) -> Any:
        """The image-text model, if it has learned more than the corpus at hand.

        Raises:
            NeedsPretrainedModel: it is the filtering network: its numbers would mean nothing here.
        """
        if not models[MODEL].pretrained:
            refuse_own(self)
        return models[MODEL]


def refuse_own(step: Step) -> None:
    """Raises NeedsPretrainedModel if the filtering network cannot serve this step."""
    if isinstance(step, WorldlyAnnotator):
        raise NeedsPretrainedModel(
            f"{step.module()} needs a pretrained open_clip model: the filtering network knows the words of this corpus "
            "only. Name one under [image_text] (model and pretrained, or a folder), or leave this annotator out"
        )


def spoken(model: Any, prompts: Sequence[str]) -> np.ndarray:
    """A vector of length 1 for what several prompts say together: float32 [dim]."""
    mean = model.encode_texts(list(prompts)).mean(0)
    return mean / np.linalg.norm(mean)


def shares(seen: np.ndarray, said: np.ndarray, scale: float) -> np.ndarray:
    """How the model divides each picture between texts: float32 [m, texts], from vectors [m, dim] and [texts, dim]."""
    logits = scale * (seen @ said.T if len(seen) else np.empty((0, len(said)), np.float32))
    exp = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf)) if len(logits) else logits
    return (exp / exp.sum(1, keepdims=True)).astype(np.float32)
