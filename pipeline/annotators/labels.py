"""Which of some names fits each picture best, by an image-text model and without training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from pipeline import vectors, zero_shot
from pipeline.step import Annotator

KINDS = ("photo", "painting", "drawing", "diagram", "chart", "map", "screenshot", "logo", "page of text")


class Labels(Annotator):
    """Labels pictures zero-shot: the name whose prompts are nearest to the picture's stored vector.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, section 3.1. With the
    filtering network, only words that the corpus's own texts use have a meaning.
    """

    version: ClassVar[int] = 1
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image_embeddings.embedding",)
    needs: ClassVar[tuple[str, ...]] = (zero_shot.MODEL,)
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("label", pa.string(), metadata={"doc": "The name that fits best."}),
            pa.field(
                "share", pa.float32(), metadata={"doc": "The model's share of it among all names, 0 to 1."}
            ),
        ]
    )
    names: tuple[str, ...] = Field(KINDS, description="Names to choose from.")
    templates: tuple[str, ...] = Field(
        ("a {}.",), min_length=1, description="Prompts with {} for the name; several are averaged."
    )

    @field_validator("templates")
    @classmethod
    def _have_room(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [one for one in templates if "{}" not in one]:
            raise ValueError(f"{wrong[0]!r} has no {{}} for the name")
        return templates

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        model = models[zero_shot.MODEL]
        seen, present = vectors.matrix(rows["image_embeddings.embedding"])
        prompts = [[one.replace("{}", name) for one in self.templates] for name in self.names]
        said = np.stack([zero_shot.spoken(model, one) for one in prompts])
        shares = zero_shot.shares(seen, said, model.scale)
        best = np.zeros(rows.num_rows, np.int64)
        best[present] = shares.argmax(1)
        label = pa.array(self.names, pa.string()).take(pa.array(best, mask=~present))
        share = vectors.scattered(shares.max(1, initial=0), present)
        return pa.table({"image_id": rows["image_id"], "label": label, "share": share})
