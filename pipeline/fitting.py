"""Fits one small grey picture onto another by stretching and shifting it, whatever else differs between them.

Gauss-Newton on the squared difference (Lucas and Kanade 1981), with weights that let a part be different, from
several places at half the resolution and from the best of them at full.
"""

from __future__ import annotations

import numpy as np

STARTS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
"""Shifts that a fit starts from, in cells of half the resolution."""
ROUNDS = 6
OUTLIER = 24.0
"""Levels: cells that differ by more weigh less in the fit."""
STIFF = 20.0
"""Resistance to moving where there is little to hold on to."""
MOST = (0.2, 0.15)
"""Bounds of stretch and shift, as shares of the side."""


def fitted(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What brings `a` onto `b`, float32 [n, s, s]: float32 [n, 4], stretch and shift (in cells) in x, then in y."""
    half = a.shape[1] // 2
    small_a, small_b = (cells.reshape(-1, half, 2, half, 2).mean((2, 4)) for cells in (a, b))
    tried = [_refined(small_a, small_b, np.tile(_row(0, x, 0, y), (len(a), 1))) for x, y in STARTS]
    best = np.stack([close for _, close in tried]).argmax(0)
    fit = np.stack([fit for fit, _ in tried])[best, np.arange(len(a))]
    return _refined(a, b, fit * _row(1, 2, 1, 2))[0]


def warped(cells: np.ndarray, fit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float32 [n, s, s] stretched around its middle and shifted; and which cells came from inside: bool [n, s, s]."""
    across, inside_x = _sampling(cells.shape[2], fit[:, 0], fit[:, 1])
    down, inside_y = _sampling(cells.shape[1], fit[:, 2], fit[:, 3])
    return down @ cells @ across.transpose(0, 2, 1), inside_y[:, :, None] & inside_x[:, None, :]


def _refined(a: np.ndarray, b: np.ndarray, fit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fit after some rounds, and how close it brings the two: [n, 4], [n]."""
    n, side, _ = a.shape
    place = np.arange(side, dtype=np.float32) - (side - 1) / 2
    most = _row(*[MOST[0], MOST[1] * side] * 2)
    step = _row(0.1, 1, 0.1, 1)
    stiff = np.diag(_row(*[STIFF * side * side, STIFF] * 2))
    for _ in range(ROUNDS):
        moved, weight = _weighted(a, b, fit)
        down, right = np.gradient(moved, axis=(1, 2))
        slopes = np.stack([right * place, right, down * place[:, None], down], 1).reshape(n, 4, side * side)
        pull = slopes * weight.reshape(n, 1, side * side)
        change = np.linalg.solve(
            pull @ slopes.transpose(0, 2, 1) + stiff, pull @ (b - moved).reshape(n, side * side, 1)
        )
        fit = (fit + change[:, :, 0].clip(-step, step)).clip(-most, most)
    return fit, _weighted(a, b, fit)[1].mean((1, 2))


def _weighted(a: np.ndarray, b: np.ndarray, fit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`a` as fitted, and Cauchy's weight of each cell: from 1 where it equals `b` to 0."""
    moved, inside = warped(a, fit)
    return moved, inside / (1 + ((b - moved) / OUTLIER) ** 2)


def _sampling(side: int, stretch: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrices [n, s, s] that interpolate at moved places, and which of these lie inside: bool [n, s]."""
    cells = np.arange(side, dtype=np.float32)
    places = cells + shift[:, None] + stretch[:, None] * (cells - (side - 1) / 2)
    inside = (places > -0.75) & (places < side - 0.25)
    held = places.clip(0, side - 1)
    return np.maximum(1 - np.abs(held[:, :, None] - cells), 0).astype(np.float32), inside


def _row(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)
