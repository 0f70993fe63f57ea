"""Pictures that a small model can learn to tell apart."""

from __future__ import annotations

import numpy as np


def pictures(n: int, seed: int = 0) -> np.ndarray:
    """uint8 [n, 16, 16, 3]: flat grey of some brightness, with noise."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(20, 235, (n, 1, 1, 1))
    return np.clip(grey + rng.integers(-10, 10, (n, 16, 16, 3)), 0, 255).astype(np.uint8)
