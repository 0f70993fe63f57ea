"""How good a picture looks, by an image-text model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from pipeline import vectors, zero_shot
from pipeline.step import StepError
from pipeline.zero_shot import WorldlyAnnotator


class Aesthetics(WorldlyAnnotator):
    """Scores pictures by opposite prompts, or by a linear head of one's own; needs a pretrained model.

    Wang et al., "Exploring CLIP for Assessing the Look and Feel of Images", 2022 (CLIP-IQA, arXiv 2207.12396): a
    picture's share of the good prompt against the bad one, averaged over the pairs. A head scores `weight · vector +
    bias`, as those do that were fitted on people's ratings.
    """

    version: ClassVar[int] = 1
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image_embeddings.embedding",)
    needs: ClassVar[tuple[str, ...]] = (zero_shot.MODEL,)
    files: ClassVar[tuple[str, ...]] = ("head",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [pa.field("score", pa.float32(), metadata={"doc": "0 to 1 by prompts; by a head, in its own scale."})]
    )
    good: tuple[str, ...] = Field(("Good photo.",), description="Prompts of good pictures …")
    bad: tuple[str, ...] = Field(("Bad photo.",), description="… and the opposite of each.")
    head: str = Field(
        "",
        description="A safetensors file with `weight` [1, dim] and `bias` [1], instead; relative to the "
        "configuration file.",
    )

    @model_validator(mode="after")
    def _in_pairs(self) -> Aesthetics:
        if len(self.good) != len(self.bad) or not self.good:
            raise ValueError("`good` and `bad` are pairs: each needs its opposite")
        return self

    def check(self) -> None:
        if self.head:
            self._head()

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        model = self.model(models)
        seen, present = vectors.matrix(rows["image_embeddings.embedding"])
        scores = np.empty(0, np.float32)
        if len(seen):
            scores = self._by_head(seen) if self.head else self._by_prompts(seen, model)
        return pa.table({"image_id": rows["image_id"], "score": vectors.scattered(scores, present)})

    def _by_prompts(self, seen: np.ndarray, model: Any) -> np.ndarray:
        pairs = zip(self.good, self.bad, strict=True)
        each = [zero_shot.shares(seen, model.encode_texts(list(pair)), model.scale)[:, 0] for pair in pairs]
        return np.mean(each, 0)

    def _by_head(self, seen: np.ndarray) -> np.ndarray:
        weight, bias = self._head()
        if len(weight) != seen.shape[1]:
            raise StepError(
                f'{self.module()}: head = "{self.head}" is for vectors of {len(weight)} numbers, and those of the model '
                f"under [image_text] have {seen.shape[1]}: take the head that was fitted on this model"
            )
        return seen @ weight + bias

    def _head(self) -> tuple[np.ndarray, float]:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            head = load_file(self.head)
            weight = np.asarray(head["weight"], np.float32).reshape(-1)
            return weight, float(np.asarray(head["bias"]).reshape(-1)[0])
        except (OSError, SafetensorError, KeyError, IndexError) as error:
            raise StepError(
                f'{self.module()}: head = "{self.head}" is no safetensors file with weight and bias: {error}'
            ) from error
