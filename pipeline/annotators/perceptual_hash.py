"""What a picture looks like, in few bytes: a hash to find near-copies by, a thumbnail to tell them from look-alikes."""

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
"""Side of the decoded picture that both are computed from."""
FLAT = 10
"""A picture whose thumbnail spans fewer levels in every channel has nothing to recognise."""


def _cosines(size: int, count: int) -> np.ndarray:
    """The `count` lowest DCT-II basis vectors but the constant one: [count, size]."""
    angles = np.outer(np.arange(1, count + 1), 2 * np.arange(size) + 1) * np.pi / (2 * size)
    return np.cos(angles).astype(np.float64)


class PerceptualHash(Annotator):
    """A 64-bit DCT hash, a 16 x 16 colour thumbnail, and whether the picture is flat."""

    version: ClassVar[int] = 1
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field(
                "hash", pa.int64(), metadata={"doc": "Signs of the 64 lowest DCT terms of its grey levels."}
            ),
            pa.field("flat", pa.bool_(), metadata={"doc": "One colour all over: never a duplicate."}),
            pa.field("thumbnail", pa.binary(), metadata={"doc": "16 x 16 RGB, row by row."}),
        ]
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        grids = np.empty((rows.num_rows, GRID, GRID, 3), np.uint8)
        for at, image in enumerate(rows["image"]):
            grids[at] = shrink(image.as_buffer())
        hashes, flat, thumbnails = describe(grids)
        stored = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(SIDE * SIDE * 3), len(grids), [None, pa.py_buffer(thumbnails.tobytes())]
        ).cast(pa.binary())
        return pa.table([rows["image_id"], hashes, flat, stored], names=["image_id", *self.columns.names])


def shrink(image: Any) -> np.ndarray:
    """A stored picture, stretched to uint8 [32, 32, 3]."""
    picture = Image.open(io.BytesIO(image), formats=("PNG", "JPEG"))
    picture.draft("RGB", (2 * GRID, 2 * GRID))
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    return np.asarray(picture.resize((GRID, GRID), Image.Resampling.BOX))


def describe(grids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes int64 [n], flat bool [n] and thumbnails uint8 [n, 16, 16, 3] of uint8 [n, 32, 32, 3]."""
    n = len(grids)
    cells = grids.reshape(n, SIDE, 2, SIDE, 2, 3).astype(np.uint16).sum((2, 4))
    thumbnails = ((cells + 2) // 4).astype(np.uint8)
    flat_cells = thumbnails.reshape(n, -1, 3).astype(np.int16)
    flat = ((flat_cells.max(1) - flat_cells.min(1)) < FLAT).all(1) if n else np.zeros(0, bool)
    # Weights that no pair of common colours shares, as red and green nearly do in luma.
    grey = grids.astype(np.float64) @ np.array([0.47, 0.34, 0.19])
    basis = _cosines(GRID, 8)
    terms = (basis @ grey @ basis.T).reshape(n, 64)
    bits = terms > 0
    words = (bits.astype(np.uint64) << np.arange(64, dtype=np.uint64)).sum(1, dtype=np.uint64)
    return words.view(np.int64), flat, thumbnails
