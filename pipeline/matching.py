"""Finding near-copies among many by 64-bit hashes: pairs by multi-index hashing, and connected components.

All of it works on numpy arrays of positions; who the positions are is the caller's business. The search falls apart
into slices that know nothing of each other: another machine can do one with the hashes that `needed` names.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

BANDS = 4
BAND_BITS = 16
FLIPS = 1
"""Differing bits of a band that are looked up: pairs of up to 4 * FLIPS + 3 are all found, most of those beyond."""
CAP = 512
"""Look-alikes held against a hash, per lookup."""
CHUNK = 1 << 16
"""Pairs compared at once: their arrays stay in the cache."""
PART_OF = 1 << 22
"""Hashes for which a band is searched in one go."""


@dataclass(frozen=True)
class Slice:
    """Those pairs that one band finds among the hashes with one range of its values."""

    band: int
    low: int = 0
    high: int = 1 << BAND_BITS

    def values(self, words: np.ndarray) -> np.ndarray:
        """uint16 [n]: what the band holds."""
        return (words >> np.uint64(BAND_BITS * self.band)).astype(np.uint16)

    def holds(self, values: np.ndarray) -> np.ndarray:
        return (values >= self.low) & (values < self.high)


def slices(parts: int) -> list[Slice]:
    """The whole search in `parts` pieces for each band."""
    edges = [part * (1 << BAND_BITS) // parts for part in range(parts + 1)]
    return [Slice(band, *edge) for band in range(BANDS) for edge in itertools.pairwise(edges)]


def needed(hashes: np.ndarray, first_new: int, piece: Slice, flips: int = FLIPS) -> np.ndarray:
    """Positions, in order, of the hashes that a slice must have: those in its range, and new ones that ask there."""
    values = piece.values(hashes.view(np.uint64))
    wanted = piece.holds(values)
    for mask in _masks(flips):
        wanted[first_new:] |= piece.holds(values[first_new:] ^ np.uint16(mask))
    return np.flatnonzero(wanted)


def hamming_pairs(
    hashes: np.ndarray, first_new: int, radius: int, **how: Any
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields chunks of pairs (i, j), j < i, i ≥ first_new, whose hashes differ in at most `radius` bits.

    Those that differ in up to 4 * flips + 3 bits are all found, and most others. Each pair comes once. `how`: asked,
    flips, cap and chunk of `slice_pairs`.
    """
    for piece in slices(1 + len(hashes) // PART_OF):
        yield from slice_pairs(hashes, first_new, radius, piece, **how)


def slice_pairs(
    hashes: np.ndarray,
    first_new: int,
    radius: int,
    piece: Slice,
    *,
    asked: np.ndarray | None = None,
    flips: int = FLIPS,
    cap: int = CAP,
    chunk: int = CHUNK,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A slice's share of `hamming_pairs`; no two slices yield the same pair.

    `hashes` is int64 [n]; `asked`, int64 [n - first_new], is what the new ones are looked up by, if not by their own.
    Two hashes that differ in up to 4 * flips + 3 bits agree in some band up to `flips` bits: looking up each band with
    that many bits flipped finds the pair. Where over `cap` hashes share a band, each is held against the `cap` nearest
    in the order of (hash, position) only: equal hashes stay connected through neighbours, the work stays linear.
    """
    words = hashes.astype(np.int64).view(np.uint64)
    asking = words[first_new:] if asked is None else asked.astype(np.int64).view(np.uint64)
    values, asked_values = piece.values(words), piece.values(asking)
    held = np.flatnonzero(piece.holds(values))
    order = held[np.argsort(_rotated(words[held], piece.band), kind="stable")]
    keys = _rotated(words[order], piece.band)
    starts = np.searchsorted(values[order], np.arange((1 << BAND_BITS) + 1))
    rank = np.zeros(len(words), np.int64)
    rank[order] = np.arange(len(order))
    asked_keys = _rotated(asking, piece.band)
    for mask in _masks(flips):
        bucket = asked_values ^ np.uint16(mask)
        new = np.flatnonzero(piece.holds(bucket))
        low, high = starts[bucket[new]], starts[bucket[new].astype(np.int64) + 1]
        crowded = np.flatnonzero(high - low > cap)
        if mask or asked is not None:
            flipped = asked_keys[new[crowded]] ^ np.uint64(mask << (64 - BAND_BITS))
            place = np.searchsorted(keys, flipped)
        else:
            place = rank[first_new + new[crowded]]
        low[crowded] = np.maximum(low[crowded], place - cap // 2)
        high[crowded] = np.minimum(high[crowded], place + cap // 2)
        for n, at in _expand(new, low, high, chunk):
            near = np.bitwise_count(asked_keys[n] ^ keys[at]) <= radius
            n, j = n[near], order[at[near]]
            differing = asking[n] ^ words[j]
            first = j < n + first_new
            for earlier in range(piece.band):  # found there already
                first &= np.bitwise_count(Slice(earlier).values(differing)) > flips
            if first.any():
                yield n[first] + first_new, j[first]


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
    new: np.ndarray, low: np.ndarray, high: np.ndarray, chunk: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each of `new` with each of range(low, high), in chunks of about `chunk`."""
    counts = np.maximum(high - low, 0)
    ends = np.cumsum(counts)
    start = 0
    while start < len(new):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + chunk, side="right")))
        size = counts[start:stop]
        begins = np.cumsum(size) - size
        yield (
            np.repeat(new[start:stop], size),
            np.arange(size.sum()) + np.repeat(low[start:stop] - begins, size),
        )
        start = stop


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
