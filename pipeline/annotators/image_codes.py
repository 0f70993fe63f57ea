"""Codes of each picture under the frozen image tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.step import Annotator
from storage.media import pixels


class ImageCodes(Annotator):
    """Encodes pictures with the image tokenizer that the flow hands in.

    Batches have one fixed size, the last one padded: a convolution's last bits vary with the batch size.
    """

    version: ClassVar[int] = 1
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image",)
    needs: ClassVar[tuple[str, ...]] = ("image_tokenizer",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("tokenizer_id", pa.string(), metadata={"doc": "Which tokenizer."}),
            pa.field("codes", pa.list_(pa.int32()), metadata={"doc": "Codes in raster order."}),
        ]
    )
    batch: int = Field(64, ge=1, le=4096, description="Pictures encoded at once.")

    @classmethod
    def table(cls) -> str:
        return "image_tokens"

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        tokenizer = models["image_tokenizer"]
        images, codes = rows["image"], []
        for start in range(0, rows.num_rows, self.batch):
            taken = images.slice(start, self.batch)
            block = np.zeros((self.batch, tokenizer.size, tokenizer.size, 3), np.uint8)
            for at, image in enumerate(taken):
                block[at] = pixels(image.as_buffer(), tokenizer.size)
            codes.append(np.asarray(tokenizer.encode(block), np.int32)[: len(taken)])
        return pa.table(
            [rows["image_id"], pa.repeat(tokenizer.id, rows.num_rows), _lists(codes)],
            names=["image_id", *self.columns.names],
        )


def _lists(codes: list[np.ndarray]) -> pa.Array:
    if not codes:
        return pa.array([], pa.list_(pa.int32()))
    grid = np.concatenate(codes)
    offsets = np.arange(len(grid) + 1, dtype=np.int32) * grid.shape[1]
    return pa.ListArray.from_arrays(offsets, grid.reshape(-1))
