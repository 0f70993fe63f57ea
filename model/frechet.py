"""How far apart two sets of pictures lie in the features of a network: the distance that FID takes of Inception's features
(Heusel et al. 2017, arXiv 1706.08500), of whatever features are given."""

from __future__ import annotations

import numpy as np


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """Fréchet distance between the normal distributions fitted to two sets of features, float `[n, width]` and `[m, width]`.
    It falls with the number of pictures: only sets of equal sizes may be compared."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    apart = float(((a.mean(0) - b.mean(0)) ** 2).sum())
    # of centred features A and B the trace of the root of the covariances' product is the sum of A Bᵀ's singular values,
    # which are those of their triangles
    left, right = triangle(a), triangle(b)
    scale = np.sqrt((len(a) - 1) * (len(b) - 1))
    common = float(np.linalg.svd(left @ right.T)[1].sum() / scale)
    spread = float((left**2).sum() / (len(a) - 1) + (right**2).sum() / (len(b) - 1))
    return max(0.0, apart + spread - 2 * common)


def triangle(features: np.ndarray) -> np.ndarray:
    """R of centred features' QR."""
    return np.linalg.qr(features - features.mean(0))[1]
