"""MinHash: signatures of sets, whose agreement estimates the Jaccard index, and bands to find those that agree.

Broder 1997 (resemblance), Indyk and Motwani 1998 (bands); the hash functions are multiply-shift, which is strongly
universal for 32-bit keys (Dietzfelbinger et al. 1996). A signature is uint32 [permutations].
"""

from __future__ import annotations

import numpy as np

from pipeline.shingles import mixed

BLOCK = 1 << 13
"""Shingles hashed at once: so few that all stays in the second-level cache."""


def signatures(hashes: np.ndarray, starts: np.ndarray, permutations: int, seed: int = 0) -> np.ndarray:
    """Of n sets, of which the i-th holds hashes[starts[i]:starts[i + 1]] and none is empty: uint32 [n, permutations].

    `hashes` are uint64 below 2^32; that one comes twice does not matter.
    """
    factors, terms = _functions(permutations, seed)
    n = len(starts) - 1
    made = np.empty((n, permutations), np.uint32)
    low = 0
    while low < n:
        high = max(low + 1, int(np.searchsorted(starts, starts[low] + BLOCK, side="right")) - 1)
        block, places = hashes[starts[low] : starts[high]], starts[low:high] - starts[low]
        scratch, least = np.empty_like(block), np.empty((permutations, high - low), np.uint64)
        for row, factor, term in zip(least, factors, terms, strict=True):
            np.multiply(block, factor, out=scratch)
            np.add(scratch, term, out=scratch)
            np.minimum.reduceat(scratch, places, out=row)
        made[low:high] = (least >> np.uint64(32)).T
        low = high
    return made


def _functions(permutations: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors and terms of x -> (factor * x + term) >> 32."""
    drawn = mixed(
        np.arange(1, 2 * permutations + 1, dtype=np.uint64) + (np.uint64(seed + 1) << np.uint64(32))
    )
    return drawn[:permutations] | np.uint64(1), drawn[permutations:]


def bands(threshold: float, permutations: int, recall: float) -> tuple[int, int]:
    """(bands, rows): the most rows a band with which two sets of that Jaccard index share one with a chance of
    `recall` or more; the more rows, the fewer sets that are less alike do.

    One row is what is left where that cannot be reached.
    """
    for rows in range(permutations, 1, -1):
        count = permutations // rows
        if shared(threshold, count, rows) >= recall:
            return count, rows
    return permutations, 1


def shared(jaccard: float, count: int, rows: int) -> float:
    """The chance that two sets of that Jaccard index share one of `count` bands of so many rows."""
    return 1 - (1 - jaccard**rows) ** count


def agreement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Estimated Jaccard index of each pair of signatures uint32 [m, permutations]: float64 [m]."""
    return (a == b).mean(1)


def jaccard(hashes: np.ndarray, starts: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Jaccard index of each pair of sets (i, j), given as in `signatures`: float64 [m]."""
    a, b = (_keyed(hashes, starts, side) for side in (i, j))
    both = np.concatenate([a, b])
    both.sort(kind="stable")  # merges what is sorted already
    common = both[1:][both[1:] == both[:-1]]
    inside, of_a, of_b = (
        np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=len(i)) for keys in (common, a, b)
    )
    return inside / np.maximum(of_a + of_b - inside, 1)


def _keyed(hashes: np.ndarray, starts: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """The sets' distinct elements in order, with the place in `sets` in the upper 32 bits."""
    counts = starts[sets + 1] - starts[sets]
    pair = np.repeat(np.arange(len(sets), dtype=np.uint64), counts)
    offsets = np.repeat(starts[sets] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    keys = (pair << np.uint64(32)) | hashes[offsets + np.arange(len(offsets))]
    keys.sort()
    return keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]]
