"""Groups of vectors that lie together, and what in them is nearly the same: k-means on the sphere.

All of it works on float32 vectors of length 1, so that a dot product is a cosine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.matching import components

BATCH = 4096
"""Vectors of a round of mini-batch k-means."""
CELLS = 1 << 21
"""Pairs of a cluster that are looked at together: 8 MB of cosines, and at most 32 MB of pairs that are alike."""


def fit(vectors: np.ndarray, clusters: int, seed: int, rounds: int = 50) -> np.ndarray:
    """Centroids float32 [clusters, dim] of vectors [n, dim], n ≥ clusters.

    Sculley, "Web-Scale K-Means Clustering", 2010: batches drawn at random move the centroid of each of their vectors by
    a step that shrinks with what it has seen. Here the centroids keep length 1.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, clusters]))
    centroids = vectors[np.sort(rng.choice(len(vectors), clusters, replace=False))].copy()
    seen = np.zeros(clusters, np.int64)
    for _ in range(rounds):
        batch = vectors[rng.integers(0, len(vectors), min(BATCH, len(vectors)))]
        label = nearest(batch, centroids, 1)[:, 0]
        order = np.argsort(label, kind="stable")
        which, first, many = np.unique(label[order], return_index=True, return_counts=True)
        seen[which] += many
        sums = np.add.reduceat(batch[order], first, axis=0)
        moved = centroids[which] + (sums - many[:, None] * centroids[which]) / seen[which, None]
        centroids[which] = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
    return centroids.astype(np.float32)


def nearest(vectors: np.ndarray, centroids: np.ndarray, probes: int) -> np.ndarray:
    """The clusters that each vector is nearest to, the nearest first: int64 [n, min(probes, clusters)]."""
    probes = min(probes, len(centroids))
    found = np.empty((len(vectors), probes), np.int64)
    for start in range(0, len(vectors), BATCH):
        close = vectors[start : start + BATCH] @ centroids.T
        found[start : start + BATCH] = np.argsort(-close, axis=1, kind="stable")[:, :probes]
    return found


def together(sides: Sequence[np.ndarray], fresh: np.ndarray, least: float) -> np.ndarray:
    """The first position of those that each one hangs together with, by pairs that are alike: int64 [n].

    A pair is alike where one of it is fresh (bool [n]) and all its cosines are at least `least`. `sides` are matrices [n, dim]:
    of the pictures, say, and of their texts. Memory is linear in n, however many pairs there are.
    """
    places, first = np.flatnonzero(fresh), np.arange(len(fresh))
    block = max(1, CELLS // max(1, len(fresh)))
    for start in range(0, len(places), block):
        rows = places[start : start + block]
        close = first[rows, None] != first  # of what hangs together already nothing more is to be learned
        if not close.any():
            continue
        for side in sides:
            close &= side[rows] @ side.T >= least
        i, j = np.nonzero(close)
        first = components(len(fresh), first[rows[i]], first[j])[first]
    return first
