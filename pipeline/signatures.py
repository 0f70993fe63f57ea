"""What is kept of a picture to find it again: hashes, a grey layout, a colour thumbnail and a glimpse of it.

All of it is made from the picture stretched to uint8 [GRID, GRID, 3], and the hashes from what is kept, so that those of
a mirrored or turned picture are made without it.
"""

from __future__ import annotations

import numpy as np

GRID = 32
"""Side of a grey layout, and of the picture that all is made from."""
SIDE = 16
"""Side of a colour thumbnail."""
COARSE = 4
"""Side of a glimpse: a thumbnail so small that those of a whole corpus fit in memory."""
FLAT = 10
"""A picture whose thumbnail spans fewer levels in every channel has nothing to recognise."""
MIX = np.array((47, 34, 19), np.uint16)
"""Hundredths of red, green and blue in grey."""
QUIET = 0.1
"""Terms under this share of the root mean square count as none: their sign is noise."""
BITS = 64
REACH = 11
"""The BITS lowest terms of a two-dimensional cosine transform have at most so many frequencies in a direction."""


def layout(grids: np.ndarray) -> np.ndarray:
    """uint8 [n, 32, 32] of uint8 [n, 32, 32, 3]."""
    return ((grids @ MIX + 50) // 100).astype(np.uint8)


def pooled(cells: np.ndarray, side: int) -> np.ndarray:
    """Rounded means of uint8 [n, s, s, 3] in fewer cells: uint8 [n, side, side, 3]."""
    n, size = len(cells), cells.shape[1] // side
    sums = np.zeros((n, side, side, 3), np.uint16)
    for down in range(size):
        for across in range(size):
            sums += cells[:, down::size, across::size]
    return ((sums + size * size // 2) // (size * size)).astype(np.uint8)


def turned(cells: np.ndarray, turn: int) -> np.ndarray:
    """Cells [n, s, s, ...] after `turn` % 4 quarter turns to the left, and mirrored from 4 on."""
    cells = np.rot90(cells, turn % 4, axes=(1, 2))
    return cells[:, :, ::-1] if turn >= 4 else cells


def grey_hash(layouts: np.ndarray) -> np.ndarray:
    """int64 [n] of uint8 [n, 32, 32]."""
    return _hash(layouts)


def colour_hash(thumbnails: np.ndarray) -> np.ndarray:
    """int64 [n] of uint8 [n, 16, 16, 3]: of its saturation, which black letters on white leave as it is."""
    return _hash(_saturation(thumbnails))


def is_coloured(thumbnails: np.ndarray) -> np.ndarray:
    """Whether there is colour enough to recognise: bool [n] of uint8 [n, 16, 16, 3]."""
    saturation = _saturation(thumbnails)
    return saturation.max((1, 2)) - saturation.min((1, 2)) >= FLAT


def is_flat(thumbnails: np.ndarray) -> np.ndarray:
    """bool [n] of uint8 [n, 16, 16, 3]."""
    cells = thumbnails.reshape(-1, SIDE * SIDE, 3)
    return (cells.max(1) - cells.min(1) < FLAT).all(1)


def _saturation(thumbnails: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(thumbnails, 3, 0)
    return np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)


def _hash(cells: np.ndarray) -> np.ndarray:
    """Signs of the lowest terms but the constant one of [n, s, s], lowest frequencies in the lowest bits: int64 [n]."""
    side = cells.shape[1]
    angles = np.outer(np.arange(1, REACH + 1), 2 * np.arange(side) + 1) * np.pi / (2 * side)
    basis = np.cos(angles)
    rows, columns = np.indices((REACH, REACH)).reshape(2, -1)
    lowest = np.lexsort((columns, rows, rows + columns))[:BITS]
    terms = (basis @ cells.astype(np.float64) @ basis.T).reshape(-1, REACH * REACH)[:, lowest]
    loud = QUIET * np.sqrt((terms * terms).mean(1, keepdims=True))
    bits = (terms > loud).astype(np.uint64) << np.arange(BITS, dtype=np.uint64)
    return bits.sum(1, dtype=np.uint64).view(np.int64)
