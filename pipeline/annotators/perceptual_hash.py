"""What a picture looks like in few bytes: hashes to find near-copies, a layout and a thumbnail to tell off look-alikes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa

from pipeline import signatures
from pipeline.signatures import COARSE, GRID, SIDE
from pipeline.step import Annotator


class DamagedPicture(Exception):
    """A stored picture is no picture any more; the message says what to do."""


def _field(name: str, kind: pa.DataType, doc: str) -> pa.Field:
    return pa.field(name, kind, metadata={"doc": doc})


class PerceptualHash(Annotator):
    """Two 64-bit hashes, a grey layout, a colour thumbnail, and whether the picture is flat: 1.9 KB a picture."""

    version: ClassVar[int] = 2
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image", "width", "height")
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            _field("hash", pa.int64(), "Which of the 64 lowest DCT terms of grey are positive."),
            _field("colour_hash", pa.int64(), "The same of saturation; null without colour."),
            _field("flat", pa.bool_(), "One colour all over: never a duplicate."),
            _field("glimpse", pa.binary(), "4 x 4 RGB, row by row."),
            _field("thumbnail", pa.binary(), "16 x 16 RGB, row by row."),
            _field("layout", pa.binary(), "32 x 32 grey, row by row."),
        ]
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        grids = np.empty((rows.num_rows, GRID, GRID, 3), np.uint8)
        sides = zip(rows["width"].to_pylist(), rows["height"].to_pylist(), strict=True)
        for at, (image, side) in enumerate(zip(rows["image"], sides, strict=True)):
            grids[at] = shrink(image.as_buffer(), min(side))
        return pa.table({"image_id": rows["image_id"], **signed(grids)})


def signed(grids: np.ndarray) -> dict[str, pa.Array]:
    """The columns of pictures uint8 [n, 32, 32, 3]."""
    layouts, thumbnails = signatures.layout(grids), signatures.pooled(grids, SIDE)
    return {
        "hash": pa.array(signatures.grey_hash(layouts)),
        "colour_hash": pa.array(signatures.colour_hash(thumbnails), mask=~signatures.is_coloured(thumbnails)),
        "flat": pa.array(signatures.is_flat(thumbnails)),
        "glimpse": _stored(signatures.pooled(thumbnails, COARSE)),
        "thumbnail": _stored(thumbnails),
        "layout": _stored(layouts),
    }


def shrink(image: Any, side: int) -> np.ndarray:
    """A stored picture with a short side of so many pixels, stretched to uint8 [32, 32, 3]."""
    # Half its size is all that a JPEG is decoded to, in half the time, where a cell still has two pixels then.
    how = cv2.IMREAD_REDUCED_COLOR_2 if side >= 4 * GRID else cv2.IMREAD_COLOR
    picture = cv2.imdecode(np.frombuffer(image, np.uint8), how | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise DamagedPicture("a stored picture cannot be decoded: look at the store with `millrace doctor`")
    return cv2.resize(picture, (GRID, GRID), interpolation=cv2.INTER_AREA)[:, :, ::-1]


def _stored(cells: np.ndarray) -> pa.Array:
    """uint8 [n, ...] as n binary values."""
    size, data = int(np.prod(cells.shape[1:])), pa.py_buffer(np.ascontiguousarray(cells))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(cells), [None, data]).cast(pa.binary())
