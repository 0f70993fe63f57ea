"""Vectors in columns: list<float32> and bytes of equal length to NumPy, and back; null where there is none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

VECTOR = pa.list_(pa.float32())


def column(vectors: np.ndarray, present: np.ndarray) -> pa.Array:
    """float32 [m, dim] to a column of n rows; the m rows that are `present` (bool [n]) get them in order."""
    width = vectors.shape[1] if len(vectors) else 0
    offsets = np.concatenate([[0], np.cumsum(present * width)]).astype(np.int32)
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    return pa.ListArray.from_arrays(pa.array(offsets), flat, VECTOR, mask=pa.array(~present))


def matrix(vectors: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A column of n rows to (float32 [m, dim], bool [n]): the vectors that there are, and where."""
    joined = vectors.combine_chunks() if isinstance(vectors, pa.ChunkedArray) else vectors
    present = joined.is_valid().to_numpy(zero_copy_only=False)
    flat = joined.drop_null().flatten().to_numpy(zero_copy_only=False)
    many = int(present.sum())
    return flat.reshape(many, -1) if many else np.empty((0, 0), np.float32), present


def scattered(values: np.ndarray, present: np.ndarray) -> pa.Array:
    """m numbers to a float32 column of n rows, null where not present."""
    out = np.zeros(len(present), np.float32)
    out[present] = values
    return pa.array(out, mask=~present)


def cells(column: pa.Array | pa.ChunkedArray, *shape: int) -> np.ndarray:
    """Binary values of so many bytes, none of them null: uint8 [n, *shape]."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = []
    for chunk in chunks:
        values = chunk.cast(pa.binary())
        offsets = np.frombuffer(values.buffers()[1], np.int32)[
            values.offset : values.offset + len(values) + 1
        ]
        if len(values):
            parts.append(np.frombuffer(values.buffers()[2], np.uint8)[offsets[0] : offsets[-1]])
    return np.concatenate([np.empty(0, np.uint8), *parts]).reshape(-1, *shape)
