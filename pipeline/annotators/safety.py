"""Whether a picture looks pornographic or violent to an image-text model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline import vectors, zero_shot
from pipeline.zero_shot import WorldlyAnnotator


class Safety(WorldlyAnnotator):
    """Holds each picture's stored vector against unsafe and harmless prompts; needs a pretrained model.

    A hint to sort by and to look at, as good as the model is: it is no proof of what a picture shows or does not.
    """

    version: ClassVar[int] = 1
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image_embeddings.embedding",)
    needs: ClassVar[tuple[str, ...]] = (zero_shot.MODEL,)
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("nsfw", pa.float32(), metadata={"doc": "The model's share of sexual prompts, 0 to 1."}),
            pa.field("violence", pa.float32(), metadata={"doc": "Its share of violent prompts, 0 to 1."}),
        ]
    )
    sexual: tuple[str, ...] = Field(
        ("pornography", "an explicit sexual act", "a nude person", "a picture of genitals"),
        min_length=1,
        description="Prompts of sexual content.",
    )
    violent: tuple[str, ...] = Field(
        ("graphic violence", "blood and gore", "a dead body", "a person being beaten", "torture"),
        min_length=1,
        description="Prompts of violence.",
    )
    harmless: tuple[str, ...] = Field(
        (
            "a photo",
            "people in everyday life",
            "an animal",
            "a landscape",
            "a drawing",
            "a thing",
            "a diagram",
        ),
        min_length=1,
        description="Prompts of all else.",
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        model = self.model(models)
        seen, present = vectors.matrix(rows["image_embeddings.embedding"])
        prompts = (*self.sexual, *self.violent, *self.harmless)
        shares = zero_shot.shares(seen, model.encode_texts(list(prompts)), model.scale)
        sexual, violent, _ = np.split(shares, np.cumsum([len(self.sexual), len(self.violent)]), axis=1)
        found = [vectors.scattered(part.sum(1), present) for part in (sexual, violent)]
        return pa.table([rows["image_id"], *found], names=["image_id", *self.columns.names])
