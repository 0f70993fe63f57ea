"""Finding near-copies among many: Hamming pairs by multi-index hashing, a colour check, connected components.

All of it works on numpy arrays of positions; who the positions are is the caller's business.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

BANDS = 4
BAND_BITS = 16
SIDE = 16
"""Side of a colour thumbnail."""
GAIN = (0.6, 1.67)
"""Contrast changes that a copy may have gone through …"""
SHIFT = 48.0
"""… and shifts of brightness, in levels of 255."""
WORST = 4
"""Cells of 64 that decide."""
CLIPPED = (4, 251)
"""Levels beyond these may have been cut off: they tell little of gain and shift."""


def hamming_pairs(
    hashes: np.ndarray, first_new: int, radius: int, cap: int = 512, chunk: int = 1 << 21
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields chunks of pairs (i, j), j < i, i ≥ first_new, whose hashes differ in at most `radius` bits.

    `hashes` is int64 [n]; each pair comes once. With 4 bands, two hashes within the radius agree in some band
    up to radius // 4 bits: looking up each band with that many bits flipped finds every pair. Where over
    `cap` hashes share a band, each is held against the `cap` nearest in the order of (hash, position) only:
    equal hashes stay connected through neighbours, and the work stays linear.
    """
    words = hashes.astype(np.int64).view(np.uint64)
    n, flips = len(words), radius // BANDS
    new = np.arange(first_new, n)
    if not len(new):
        return
    bands = [(words >> np.uint64(BAND_BITS * k)).astype(np.uint16) for k in range(BANDS)]
    for k in range(BANDS):
        keys = _rotated(words, k)
        order = np.argsort(keys, kind="stable")
        rank = np.empty(n, np.int64)
        rank[order] = np.arange(n)
        starts = np.searchsorted(bands[k][order], np.arange((1 << BAND_BITS) + 1))
        for mask in _masks(flips):
            if mask:
                place = np.searchsorted(keys[order], keys[new] ^ np.uint64(mask << (64 - BAND_BITS)))
            else:
                place = rank[new]
            bucket = bands[k][new] ^ np.uint16(mask)
            low = np.maximum(starts[bucket], place - cap // 2)
            high = np.minimum(starts[bucket.astype(np.int64) + 1], place + cap // 2)
            for i, j in _expand(new, order, low, high, chunk):
                near = np.bitwise_count(words[i] ^ words[j]) <= radius
                for earlier in range(k):  # found there already
                    near &= np.bitwise_count(bands[earlier][i] ^ bands[earlier][j]) > flips
                if near.any():
                    yield i[near], j[near]


def _rotated(words: np.ndarray, band: int) -> np.ndarray:
    """The words with this band on top, so that sorting groups by it."""
    up = np.uint64((64 - BAND_BITS * (band + 1)) % 64)
    return words if up == 0 else (words << up) | (words >> np.uint64(64 - int(up)))


def _masks(flips: int) -> list[int]:
    """Bit masks of a band with at most `flips` bits."""
    return [
        sum(1 << bit for bit in bits)
        for count in range(flips + 1)
        for bits in itertools.combinations(range(BAND_BITS), count)
    ]


def _expand(
    new: np.ndarray, order: np.ndarray, low: np.ndarray, high: np.ndarray, chunk: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of each new position with those at order[low:high], j < i only, in chunks of about `chunk`."""
    counts = np.maximum(high - low, 0)
    ends = np.cumsum(counts)
    start = 0
    while start < len(new):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + chunk, side="right")))
        size = counts[start:stop]
        i = np.repeat(new[start:stop], size)
        within = np.arange(len(i)) - np.repeat(np.cumsum(size) - size, size)
        j = order[np.repeat(low[start:stop], size) + within]
        below = j < i
        if below.any():
            yield i[below], j[below]
        start = stop


def same_picture(a: np.ndarray, b: np.ndarray, tolerance: float) -> np.ndarray:
    """Whether thumbnails uint8 [n, SIDE, SIDE, 3] agree up to one gain and shift of brightness: bool [n]."""
    return np.minimum(colour_distance(a, b), colour_distance(b, a)) <= tolerance


def colour_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Error of the worst cells, in levels of 255, after the gain and shift that best bring `a` to `b`: [n].

    The worst count, not the mean: another colour on a small object changes few cells, but those by much.
    Cells are pooled two by two, within which re-encoding and resizing cancel out.
    """
    x, y = (side.reshape(len(side), -1).astype(np.float32) for side in (a, b))
    low, high = CLIPPED
    inside = ((x > low) & (x < high) & (y > low) & (y < high)).astype(np.float32)
    count = np.maximum(inside.sum(1), 1)
    mean_x, mean_y = (x * inside).sum(1) / count, (y * inside).sum(1) / count
    dx, dy = (x - mean_x[:, None]) * inside, (y - mean_y[:, None]) * inside
    spread = (dx * dx).sum(1)
    gain = np.where(spread > 64 * count, (dx * dy).sum(1) / np.maximum(spread, 1e-6), 1.0).clip(*GAIN)
    shift = (mean_y - gain * mean_x).clip(-SHIFT, SHIFT)
    error = (x * gain[:, None] + shift[:, None]).clip(0, 255) - y
    pooled = error.reshape(len(a), SIDE // 2, 2, SIDE // 2, 2, 3).mean((2, 4))
    cells = np.sqrt((pooled * pooled).mean(3)).reshape(len(a), -1)
    return np.partition(cells, -WORST, axis=1)[:, -WORST:].mean(1)


def components(n: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Smallest position of each position's connected component: int64 [n], for edges (a[k], b[k])."""
    label = np.arange(n)
    while len(a):
        low = np.minimum(label[a], label[b])
        np.minimum.at(label, label[a], low)
        np.minimum.at(label, label[b], low)
        while (label != (shorter := label[label])).any():
            label = shorter
        apart = label[a] != label[b]
        a, b = a[apart], b[apart]
    return label
