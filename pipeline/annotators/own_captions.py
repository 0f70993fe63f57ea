"""A caption of each picture by a model that was trained on this very store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from pipeline.step import Annotator


class OwnCaptions(Annotator):
    """Captions pictures with a checkpoint of the store, which the flow hands in; `millrace train` makes one."""

    version: ClassVar[int] = 1
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image",)
    needs: ClassVar[tuple[str, ...]] = ("caption_model",)
    unfingerprinted: ClassVar[frozenset[str]] = frozenset({"checkpoint"})  # its hash counts, by `needs`
    columns: ClassVar[pa.Schema] = pa.schema(
        [pa.field("caption", pa.string(), metadata={"doc": "What our own model says of the picture."})]
    )
    checkpoint: str = Field(
        "latest", description="Id of a checkpoint; the latest changes with every training."
    )
    lang: str = Field("en", description="Language of the captions.")

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        images = [image.as_buffer() for image in rows["image"]]
        captions = models["caption_model"].caption(images, self.lang)
        return pa.table({"image_id": rows["image_id"], "caption": pa.array(captions, pa.string())})
