"""How well a text fits its picture, by the vectors of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipeline import vectors
from pipeline.step import Annotator


class ImageTextScore(Annotator):
    """The cosine of the stored vectors of picture and text; no model is asked.

    Hessel et al., "CLIPScore", 2021, without its factor of 2.5 and its floor at 0.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("image_embeddings.embedding", "text_embeddings.embedding")
    columns: ClassVar[pa.Schema] = pa.schema(
        [pa.field("score", pa.float32(), metadata={"doc": "Cosine of picture and text, -1 to 1, or null."})]
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        seen, shown = vectors.matrix(rows["image_embeddings.embedding"])
        said, told = vectors.matrix(rows["text_embeddings.embedding"])
        both = shown & told
        seen, said = seen[both[shown]], said[both[told]]
        scores = np.einsum("nd,nd->n", seen, said) if both.any() else np.empty(0, np.float32)
        return pa.table({"sample_id": rows["sample_id"], "score": vectors.scattered(scores, both)})
