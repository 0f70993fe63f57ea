"""What an image-text model sees in each picture, as a vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipeline import vectors
from pipeline.step import Annotator


class ImageEmbeddings(Annotator):
    """Encodes pictures with the image-text model that the flow hands in."""

    version: ClassVar[int] = 1
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image",)
    needs: ClassVar[tuple[str, ...]] = ("image_text_model",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [pa.field("embedding", vectors.VECTOR, metadata={"doc": "The picture's vector, of length 1."})]
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        images = [image.as_buffer() for image in rows["image"]]
        encoded = models["image_text_model"].encode_images(images)
        everywhere = np.ones(rows.num_rows, bool)
        return pa.table({"image_id": rows["image_id"], "embedding": vectors.column(encoded, everywhere)})
