"""Whether two look-alikes are one picture: the same in other light or encoding, or the same drawing with other letters.

What is compared is small: thumbnails uint8 [n, SIDE, SIDE, 3] in colour, layouts uint8 [n, GRID, GRID] in grey.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.fitting import fitted, warped
from pipeline.signatures import GRID, SIDE, turned

GAIN = (0.6, 1.67)
"""Contrast changes that a copy may have gone through …"""
SHIFT = 48.0
"""… and shifts of brightness, in levels of 255."""
WORST = 4
"""Cells of 64 that decide."""
CLIPPED = (4, 251)
"""Levels beyond these may have been cut off: they tell little of gain and shift."""
AT_ONCE = 1 << 9
"""Pairs compared at once: their arrays stay in the cache."""

LEVEL = 20.0
"""Levels within which two cells agree."""
EDGE = 12.0
"""Levels between neighbours from which a cell shows a line."""
DETAILS = 200
"""Cells with lines from which a drawing can be told by them alone: a few shapes could be anywhere."""
TINT = 16.0
"""Most difference in colour, in levels: letters are black or white, another colour is another drawing."""
STRETCHED, MOVED = 0.12, 2.5
"""Most that other letters resize a drawing, as a share, and push it, in cells of a layout."""


@dataclass(frozen=True)
class Looks:
    """What n pictures look like."""

    layouts: np.ndarray
    """uint8 [n, GRID, GRID]."""
    thumbnails: np.ndarray
    """uint8 [n, SIDE, SIDE, 3]."""

    def take(self, at: np.ndarray) -> Looks:
        return Looks(self.layouts[at], self.thumbnails[at])

    def turned(self, turn: int) -> Looks:
        return Looks(turned(self.layouts, turn), turned(self.thumbnails, turn))


def plausible(a: np.ndarray, b: np.ndarray, tolerance: float, relabelled: bool) -> np.ndarray:
    """Which pairs of glimpses, uint8 [n, 4, 4, 3], deserve a closer look: bool [n]."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    errors = [np.abs(_toned(one, other) - other).mean(3).max((1, 2)) for one, other in ((a, b), (b, a))]
    wanted = np.minimum(*errors) <= tolerance  # cells so large average out what differs in a copy
    if relabelled:
        wanted |= _length(_tint(a - b)).max((1, 2)) <= TINT
    return wanted


def same_picture(a: Looks, b: Looks, tolerance: float, lines: float) -> np.ndarray:
    """Whether two pictures agree up to one gain and shift of brightness: bool [n].

    Every cell of their thumbnails must, within `tolerance` levels, and of the lines of their layouts this share: thin
    lines on white weigh little in a thumbnail, and are all that there is to a drawing.
    """
    near = np.minimum(
        colour_distance(a.thumbnails, b.thumbnails), colour_distance(b.thumbnails, a.thumbnails)
    )
    same = near <= tolerance
    x, y = (side.layouts[same].astype(np.float32) for side in (a, b))
    agreed = (agreement(x, y), agreement(_toned(x, y), y), agreement(x, _toned(y, x)))
    same[same] = np.maximum.reduce(agreed) >= lines
    return same


def same_drawing(a: Looks, b: Looks, lines: float) -> np.ndarray:
    """Whether this share of the lines of two pictures agrees when one is fitted onto the other: bool [n].

    Letters in another language are few of a drawing's lines. They push and resize it a little, and have no colour.
    """
    same = np.minimum(*(_lines(side.layouts.astype(np.float32)).sum((1, 2)) for side in (a, b))) >= DETAILS
    a, b = a.take(same), b.take(same)
    x, y = (side.layouts.astype(np.float32) for side in (a, b))
    fit = fitted(x, y)
    moved, inside = warped(x, fit)
    stretch, push = (np.abs(fit[:, part]).max(1) for part in ([0, 2], [1, 3]))
    same[same] = (
        (agreement(moved, y, inside) >= lines)
        & ((_lines(moved) & _lines(y) & inside).sum((1, 2)) >= DETAILS)
        & (stretch <= STRETCHED)
        & (push <= MOVED)
        & (_recoloured(a.thumbnails, b.thumbnails, fit) <= TINT)
    )
    return same


def same(a: Looks, b: Looks, tolerance: float, lines: float, relabelled: bool) -> np.ndarray:
    """Whether two pictures are the same, in the one sense or the other: bool [n]."""
    found = np.zeros(len(a.layouts), bool)
    for at in _blocks(np.arange(len(found))):
        found[at] = same_picture(a.take(at), b.take(at), tolerance, lines)
    for at in _blocks(np.flatnonzero(~found)) if relabelled else ():
        found[at] = same_drawing(a.take(at), b.take(at), lines)
    return found


def colour_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Error of the worst cells of thumbnails, in levels of 255, after the gain and shift that best bring `a` to `b`: [n].

    The worst count, not the mean: another colour on a small object changes few cells, but those by much.
    Cells are pooled two by two, within which re-encoding and resizing cancel out.
    """
    b = b.astype(np.float32)
    return _worst(_toned(a.astype(np.float32), b) - b)


def agreement(a: np.ndarray, b: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
    """Share of the lines of float32 [n, s, s] that both have: steps between neighbours where the levels agree: [n]."""
    weight = np.maximum(_steps(a), _steps(b))
    if inside is not None:
        weight *= inside
    return (weight * (np.abs(a - b) < LEVEL)).sum((1, 2)) / np.maximum(weight.sum((1, 2)), 1)


def _blocks(chosen: np.ndarray) -> Iterator[np.ndarray]:
    return (chosen[at : at + AT_ONCE] for at in range(0, len(chosen), AT_ONCE))


def _toned(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a` with the gain and shift that best bring it to `b`, float32 [n, ...]: by least squares, between the limits."""
    x, y = _flat(a), _flat(b)
    low, high = CLIPPED
    inside = ((x > low) & (x < high) & (y > low) & (y < high)).astype(np.float32)
    count = np.maximum(inside.sum(1), 1)
    mean_x, mean_y = (x * inside).sum(1) / count, (y * inside).sum(1) / count
    dx, dy = (x - mean_x[:, None]) * inside, (y - mean_y[:, None]) * inside
    spread = (dx * dx).sum(1)
    gain = np.where(spread > 64 * count, (dx * dy).sum(1) / np.maximum(spread, 1e-6), 1.0).clip(*GAIN)
    shift = (mean_y - gain * mean_x).clip(-SHIFT, SHIFT)
    return (x * gain[:, None] + shift[:, None]).clip(0, 255).reshape(a.shape)


def _flat(cells: np.ndarray) -> np.ndarray:
    """[n, ...] as [n, m], also where n is 0."""
    return cells.reshape(len(cells), math.prod(cells.shape[1:]))


def _worst(error: np.ndarray) -> np.ndarray:
    """Mean of the worst cells of an error [n, SIDE, SIDE, 3], pooled two by two: [n]."""
    rows = error[:, ::2] + error[:, 1::2]
    pooled = (rows[:, :, ::2] + rows[:, :, 1::2]) / 4
    cells = _flat(_length(pooled))
    return np.partition(cells, -WORST, axis=1)[:, -WORST:].mean(1)


def _length(cells: np.ndarray) -> np.ndarray:
    """Root mean square over the channels."""
    return np.sqrt((cells * cells).mean(-1))


def _tint(cells: np.ndarray) -> np.ndarray:
    """What is left of colours when grey is taken away."""
    return cells - cells.mean(-1, keepdims=True)


def _recoloured(a: np.ndarray, b: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Difference in tint of the worst cells of thumbnails, one fitted onto the other as their layouts were: [n]."""
    fit = fit * np.array([1, SIDE / GRID, 1, SIDE / GRID], np.float32)
    channels = [warped(a[..., channel].astype(np.float32), fit) for channel in range(3)]
    moved, inside = np.stack([cells for cells, _ in channels], 3), channels[0][1]
    return _worst(_tint(moved - b) * inside[..., None])


def _steps(cells: np.ndarray) -> np.ndarray:
    """Steps to the neighbours at the right and below, in levels: float32 [n, s, s]."""
    steps = np.zeros_like(cells)
    steps[:, :, :-1] += np.abs(cells[:, :, 1:] - cells[:, :, :-1])
    steps[:, :-1] += np.abs(cells[:, 1:] - cells[:, :-1])
    return steps


def _lines(cells: np.ndarray) -> np.ndarray:
    return _steps(cells) > EDGE
