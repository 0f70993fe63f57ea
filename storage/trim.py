"""Uniform bars and margins around a picture: found by their colour, and told from a sky or a white ground by their edge.

A bar is one colour, and what it borders on begins along a straight line: most pixels of the first line inside differ
from it. A planet in the night, a drawing on a page and an object on white do not begin so: their ground is a margin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels; the last two are outside."""

SOFT, HARD, INK = 10, 24, 80
"""Levels by which a pixel may differ from its bar far from the content; those from which on it counts as content; and
those that no compression's trace has."""
BLOCK, RINGING = 8, 16
"""Pixels: as far as that, a JPEG's blocks carry traces of the content into a bar: of its light, and of its colours, which are
stored at half the size."""
STRAIGHT, PAIRED = 0.6, 0.25
"""Share of the first line inside that differs: of a bar that stands alone, and of one of two that are equal."""
STEP = 16
"""Levels from the line before the edge to the line behind it: a gradient takes longer."""
TRACES, SPECKLED, RAGGED = 0.01, 0.3, 0.2
"""Share of a bar's pixels that may differ softly: far from the content, and among the traces of its colours. And of those
on its last lines that may differ hard, as a share of what differs behind the edge."""
MIXED = 0.7
"""A line whose colours lie nearer to the bar than this, of the next line's distance, was mixed when it was scaled."""
THICK = (3, 8, 8)
"""Pixels that a bar takes at least, and those that are found within it."""
MOST = 0.45
"""Share of a side that a bar takes at most."""
SMALLEST = 16
"""Pixels: what is left is no smaller."""
FLAT = 4.0
"""Standard deviation of grey, in levels: what is left is no flatter; a flag of stripes is not cut."""


@dataclass(frozen=True)
class Bar:
    """What lies along one side: its colour, its thickness, and how much of the line behind it differs."""

    colour: np.ndarray
    thick: int
    straight: float
    beside: tuple[int, int]
    """Pixels at the two ends of the line behind it that have the bar's colour: of a frame."""


def box(rgb: np.ndarray, margins: bool = False) -> Box:
    """What is inside the bars of uint8 [rows, columns, 3]; with `margins`, inside grounds of one colour, too."""
    height, width = rgb.shape[:2]
    left, top, right, bottom = 0, 0, width, height
    for least in THICK:
        inside = rgb[top:bottom, left:right]
        cut = _margins(inside) if margins else _bars(inside, least)
        if not any(cut):
            break
        left, top, right, bottom = left + cut[0], top + cut[1], right - cut[2], bottom - cut[3]
    inside = rgb[top:bottom, left:right]
    if min(inside.shape[:2]) < min(SMALLEST, height, width) or inside.mean(2).std() < FLAT:
        return 0, 0, width, height
    return left, top, right, bottom


def _bars(rgb: np.ndarray, least: int) -> tuple[int, ...]:
    """Thickness of the bars at the left, the top, the right and the bottom; 0 where there is none."""
    across = rgb.swapaxes(0, 1)
    found = [bar(across), bar(rgb), bar(across[::-1]), bar(rgb[::-1])]
    return tuple(
        one.thick
        if one is not None
        and one.thick >= least
        and one.straight >= (PAIRED if _equal(one, found[at - 2]) else STRAIGHT)
        and all(map(_joins, one.beside, (found[1 - at % 2], found[3 - at % 2])))
        else 0
        for at, one in enumerate(found)
    )


def _equal(one: Bar, other: Bar | None) -> bool:
    """Two bars that face each other, as of a letterbox: they need less of an edge."""
    return other is not None and abs(one.thick - other.thick) <= 2 and _same(one.colour, other.colour)


def _joins(pixels: int, other: Bar | None) -> bool:
    """Where the line behind a bar begins in the bar's colour, another bar of a frame lies, or the edge is none. A JPEG's
    traces of the content reach into that other bar, within a block."""
    return pixels <= 2 or (other is not None and -2 <= other.thick - pixels < BLOCK)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(one - other).max() <= SOFT)


def bar(rgb: np.ndarray) -> Bar | None:
    """The bar at the top of uint8 [rows, columns, 3], if there is one."""
    apart, colour = _apart(rgb)
    if apart is None:
        return None
    content = np.flatnonzero((apart > HARD).mean(0) > TRACES)
    if not len(content):
        return None
    start, end = int(content[0]), int(content[-1]) + 1
    part = apart[:, start:end]
    shares = (part > HARD).mean(1)
    first = int(np.argmax(shares > 2 * TRACES))
    begun = shares[first : first + BLOCK + 1]
    straight = float(begun.max())
    edge = first + int(np.argmax(begun >= max(PAIRED, STRAIGHT * straight)))
    if straight < PAIRED or not 2 <= edge <= MOST * len(rgb):
        return None
    far, near = apart[: max(0, edge - RINGING)], apart[: max(0, edge - BLOCK)]
    means = part[[edge - 2, min(edge + 1, len(part) - 1)]].mean(1)
    if (near > HARD).any() or np.count_nonzero(near > SOFT) > SPECKLED * near.size:
        return None
    if np.count_nonzero(far > SOFT) > TRACES * far.size:
        return None
    if shares[: edge - 1].max() > RAGGED * straight or (apart[: edge - 1] > INK).any():
        return None
    if means[1] - means[0] < STEP:
        return None
    thick = edge + _mixed(rgb[edge : edge + 2, start:end], colour)
    return Bar(colour, thick, straight, (start, rgb.shape[1] - end))


def _apart(rgb: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Levels by which each pixel differs from the outermost line, in its most different channel: uint8 [rows, columns];
    None if that line is not of one colour."""
    colour = np.median(rgb[0], 0).astype(np.int16)
    if (np.abs(rgb[0] - colour).max(1) > HARD).mean() > TRACES:
        return None, colour
    return np.abs(rgb - colour).max(2), colour


def _mixed(lines: np.ndarray, colour: np.ndarray) -> int:
    """1 if the first of two lines is half a bar, since the edge lay between two pixels when the picture was scaled."""
    if len(lines) < 2:
        return 0
    first, second = lines.astype(np.float32) - colour
    return int((first * second).sum() < MIXED * (second * second).sum())


def _margins(rgb: np.ndarray) -> tuple[int, int, int, int]:
    """Lines at the left, the top, the right and the bottom in which nothing differs from the colour of that side."""
    across = rgb.swapaxes(0, 1)

    def empty(lines: np.ndarray) -> int:
        apart, _ = _apart(lines)
        inked = (apart > HARD).any(1) if apart is not None else np.ones(1, bool)
        return max(0, int(np.argmax(inked)) - 1) if inked.any() else 0

    return empty(across), empty(rgb), empty(across[::-1]), empty(rgb[::-1])
