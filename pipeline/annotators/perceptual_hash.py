"""What a picture looks like in few bytes: hashes to find near-copies, a thumbnail to tell off look-alikes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.matching import SIDE
from pipeline.step import Annotator

GRID = 32
"""Side of the decoded picture that all is computed from."""
FLAT = 10
"""A picture whose thumbnail spans fewer levels in every channel has nothing to recognise."""
MIXES = ((47, 34, 19), (15, 25, 60))
"""Two ways to weigh red, green and blue: what looks alike in one differs in the other."""
QUIET = 0.1
"""Terms under this share of the root mean square count as none: their sign is noise."""


def _cosines(size: int, count: int) -> np.ndarray:
    """The `count` lowest DCT-II basis vectors but the constant one: float64 [count, size]."""
    angles = np.outer(np.arange(1, count + 1), 2 * np.arange(size) + 1) * np.pi / (2 * size)
    return np.cos(angles)


class PerceptualHash(Annotator):
    """Two 64-bit DCT hashes, a 16 x 16 colour thumbnail, and whether the picture is flat."""

    version: ClassVar[int] = 1
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("hash", pa.int64(), metadata={"doc": "Which of the 64 lowest DCT terms are positive."}),
            pa.field("other_hash", pa.int64(), metadata={"doc": "The same with colours weighed otherwise."}),
            pa.field("flat", pa.bool_(), metadata={"doc": "One colour all over: never a duplicate."}),
            pa.field("thumbnail", pa.binary(), metadata={"doc": "16 x 16 RGB, row by row."}),
        ]
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        grids = np.empty((rows.num_rows, GRID, GRID, 3), np.uint8)
        for at, image in enumerate(rows["image"]):
            grids[at] = shrink(image.as_buffer())
        hashes = [hash_of(grids, mix) for mix in MIXES]
        thumbnails = thumbnail(grids)
        stored = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(SIDE * SIDE * 3), len(grids), [None, pa.py_buffer(thumbnails.tobytes())]
        ).cast(pa.binary())
        names = ["image_id", *self.columns.names]
        return pa.table([rows["image_id"], *hashes, is_flat(thumbnails), stored], names=names)


def shrink(image: Any) -> np.ndarray:
    """A stored picture, stretched to uint8 [32, 32, 3]."""
    picture: Image.Image = Image.open(io.BytesIO(image), formats=("PNG", "JPEG"))
    picture.draft("RGB", (2 * GRID, 2 * GRID))
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    return np.asarray(picture.resize((GRID, GRID), Image.Resampling.BOX))


def hash_of(grids: np.ndarray, mix: tuple[int, int, int]) -> np.ndarray:
    """int64 [n] of uint8 [n, 32, 32, 3]."""
    grey = (grids @ np.array(mix, np.int16)).astype(np.float64)
    basis = _cosines(GRID, 8)
    terms = (basis @ grey @ basis.T).reshape(len(grids), 64)
    loud = QUIET * np.sqrt((terms * terms).mean(1, keepdims=True))
    bits = (terms > loud).astype(np.uint64) << np.arange(64, dtype=np.uint64)
    return bits.sum(1, dtype=np.uint64).view(np.int64)


def thumbnail(grids: np.ndarray) -> np.ndarray:
    """uint8 [n, 16, 16, 3] of uint8 [n, 32, 32, 3]."""
    cells = grids.reshape(len(grids), SIDE, 2, SIDE, 2, 3).astype(np.uint16).sum((2, 4))
    return ((cells + 2) // 4).astype(np.uint8)


def is_flat(thumbnails: np.ndarray) -> np.ndarray:
    """bool [n] of uint8 [n, 16, 16, 3]."""
    cells = thumbnails.reshape(len(thumbnails), SIDE * SIDE, 3).astype(np.int16)
    return (cells.max(1) - cells.min(1) < FLAT).all(1)
