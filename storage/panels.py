"""A collage's panels, and the tiles of a very long page.

Panels are found by a recursive XY-cut (Nagy and Seth, Hierarchical representation of optically scanned documents, 1984)
along gutters: bands of one colour through the whole region, on both sides of which pictures begin along straight lines.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from storage import trim
from storage.trim import Box

GUTTER = 0.006
"""Share of the longer side that a gutter is wide, at least; and 2 pixels."""
RAGGED = 0.05
"""Share of a gutter's line that compression may have made differ."""
WIDEST = 0.25
"""Share of a region that a gutter takes at most."""
SIDE, SHARE = 32, 0.1
"""Pixels, and share of the whole, that a panel's sides have at least."""
TOUCH = 0.6
"""Share of the gutter's length along which pictures border on it."""
RICH = 8.0
"""Standard deviation of grey, in levels: what has less is no picture."""
INSET, BARE = 4, 1.5
"""Pixels at a panel's sides that do not count; and how many cells there may be for each that shows something: a table has
more."""
MOST = 64
"""Panels of a picture; more are a pattern, not a collage."""
DEEP = 4
ACROSS = 4
"""Panels beside each other that are stored at full size; more of them are smaller."""
LONG = 4.0
"""A picture this many times longer than wide is a page to be cut into tiles."""
NARROW = 128
"""Pixels that a page is wide at least: the tiles of a smaller one show no more than it does."""
TILE, SLACK = 1.5, 0.3
"""Length of a tile, in widths, and how far from there, in tiles, a quiet line is looked for."""
DECODED = 1024
"""Pixels of the longer side on which gutters are looked for, at most: twice as many of a long picture, whose gutters are
wider; and of the shorter side on which a page's quiet lines are."""


def boxes(rgb: np.ndarray) -> list[Box]:
    """The panels or tiles of uint8 [rows, columns, 3] in reading order; none of a picture that is one."""
    height, width = rgb.shape[:2]
    long = max(height, width) > LONG * min(height, width)
    for find, side in (panels, max(height, width) // (2 if long else 1)), (tiles, min(height, width)):
        step = max(1, -(-side // DECODED))
        if found := find(np.ascontiguousarray(rgb[::step, ::step])):
            return [(x * step, y * step, min(width, r * step), min(height, b * step)) for x, y, r, b in found]
    return []


def decoded_side(size: tuple[int, int], max_side: int) -> int:
    """Pixels of the longer side at which a picture is decoded, so that a piece of it may have `max_side`."""
    return round(max_side * max(ACROSS, max(size) / min(size)))


def panels(rgb: np.ndarray) -> list[Box]:
    """The panels of a collage; none if there are not two."""
    least = (max(SIDE, int(SHARE * rgb.shape[1])), max(SIDE, int(SHARE * rgb.shape[0])))
    whole = trim.box(rgb)
    found = _cut(rgb, whole, least, DEEP)
    rich = [box for box in found if _shows(rgb, box)]
    return rich if 2 <= len(rich) <= MOST and len(found) <= BARE * len(rich) else []


def _shows(rgb: np.ndarray, box: Box) -> bool:
    """Whether there is something inside, beside what the gutters left at its sides."""
    left, top, right, bottom = box
    return bool(rgb[top + INSET : bottom - INSET, left + INSET : right - INSET].mean(2).std() >= RICH)


def _cut(rgb: np.ndarray, box: Box, least: tuple[int, int], deep: int) -> list[Box]:
    """A region's panels: rows of them first, so that they come in reading order."""
    left, top, right, bottom = box
    region = rgb[top:bottom, left:right]
    if deep:
        for lines, along in ((region, 1), (region.swapaxes(0, 1), 0)):
            spans = _between(lines, least[along])
            if len(spans) > 1:
                parts = [
                    (left, top + a, right, top + b) if along else (left + a, top, left + b, bottom)
                    for a, b in spans
                ]
                return [one for part in parts for one in _cut(rgb, part, least, deep - 1)]
    x, y, r, b = trim.box(region)
    inside = region[y:b, x:r]
    if inside.shape[1] < least[0] or inside.shape[0] < least[1]:
        return []
    return [(left + x, top + y, left + r, top + b)]


def _between(lines: np.ndarray, least: int) -> list[tuple[int, int]]:
    """First and last line of what lies between the gutters across uint8 [lines, pixels, 3]."""
    starts, ends = [0], []
    bands = _bands(lines)
    for first, last in bands if len(bands) < MOST else ():
        middle = (first + last) // 2  # where a compressed gutter has the least traces
        low, high = max(first, min(middle, last - 2)), min(last, max(middle, first + 2))
        reach = max(
            least, last - first
        )  # far enough to tell a picture from a thing, and no more: bands may be many
        before = trim.bar(lines[max(0, first - reach) : high][::-1])
        behind = trim.bar(lines[low : last + reach])
        if before is None or behind is None or not all(_borders(b, lines.shape[1]) for b in (before, behind)):
            continue
        end, start = high - before.thick, low + behind.thick
        if end - starts[-1] >= least and len(lines) - start >= least:
            ends.append(end)
            starts.append(start)
    return list(zip(starts, [*ends, len(lines)], strict=True))


def _borders(bar: trim.Bar, length: int) -> bool:
    return bar.straight >= trim.STRAIGHT and sum(bar.beside) <= (1 - TOUCH) * length


def _bands(lines: np.ndarray) -> list[tuple[int, int]]:
    """Runs of lines that are one colour all along, not at the ends."""
    plain = lines[..., 1].std(1) <= trim.HARD  # a sieve: medians take their time
    colours = np.zeros((len(lines), 3), np.int16)
    colours[plain] = np.median(lines[plain], 1)
    apart = np.abs(lines[plain] - colours[plain, None]).max(2)
    plain[plain] = ((apart > trim.HARD).mean(1) <= RAGGED) & (apart.max(1) <= trim.INK)
    jump = np.abs(np.diff(colours, axis=0)).max(1) > trim.HARD
    runs, start = [], None
    for at, one in enumerate([*plain, False]):
        if start is not None and (not one or jump[at - 1]):
            runs.append((start, at))
            start = None
        if one and start is None:
            start = at
    least = max(2, round(GUTTER * max(lines.shape[:2])))
    return [(a, b) for a, b in runs if least <= b - a <= WIDEST * len(lines) and a > 0 and b < len(lines)]


def tiles(rgb: np.ndarray) -> list[Box]:
    """Pieces of a long picture, cut along its quietest lines; together they are all of it."""
    height, width = rgb.shape[:2]
    if max(height, width) <= LONG * min(height, width) or min(height, width) < NARROW:
        return []
    tall = height > width
    lines = (rgb if tall else rgb.swapaxes(0, 1)).astype(np.int16)
    unrest = np.abs(np.diff(lines, axis=1)).mean((1, 2))
    unrest[1:] += np.abs(np.diff(lines, axis=0)).mean((1, 2))
    count = max(2, round(max(height, width) / min(height, width) / TILE))
    size = len(lines) / count
    cuts = [0]
    for place in range(1, count):
        low, high = int((place - SLACK) * size), int((place + SLACK) * size)
        cuts.append(low + _quietest(unrest[low:high]))
    cuts.append(len(lines))
    return [(0, a, width, b) if tall else (a, 0, b, height) for a, b in pairwise(cuts)]


def _quietest(unrest: np.ndarray) -> int:
    """The middle of the longest run of lines about as quiet as the quietest."""
    quiet = np.flatnonzero(unrest <= unrest.min() + 1.0)
    runs = np.split(quiet, np.flatnonzero(np.diff(quiet) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[len(longest) // 2])
