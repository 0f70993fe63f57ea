"""What an image-text model reads in each text that describes a picture, as a vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline import vectors
from pipeline.step import Annotator


class TextEmbeddings(Annotator):
    """Encodes texts about pictures with the image-text model that the flow hands in; others are null.

    An answer ("three") or a story says too little, or too much, of the picture beside it to be held against it.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("text", "task", "image_id")
    needs: ClassVar[tuple[str, ...]] = ("image_text_model",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [pa.field("embedding", vectors.VECTOR, metadata={"doc": "The text's vector, of length 1, or null."})]
    )
    tasks: tuple[str, ...] = Field(("caption",), description="Tasks whose texts describe the picture.")

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        told = pc.and_(rows["text"].is_valid(), rows["image_id"].is_valid())
        asked = pc.fill_null(pc.is_in(rows["task"], pa.array(self.tasks, pa.string())), False)
        present = np.asarray(pc.and_(told, asked)).astype(bool)
        encoded = models["image_text_model"].encode_texts(rows["text"].filter(pa.array(present)).to_pylist())
        return pa.table({"sample_id": rows["sample_id"], "embedding": vectors.column(encoded, present)})
