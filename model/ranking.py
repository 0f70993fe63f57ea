"""Several drawings of each wish, and of them the one in which the model itself reads the wish best.

DALL-E drew many pictures and kept the one that CLIP found nearest to its caption (Ramesh et al. 2021, arXiv 2102.12092, section
2.6). Here the network that draws also reads, so it needs no other: the fewest bits that the caption costs after the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.cost import bits
from model.generate import Model, Sampling, draw_pictures

TASK = "caption"
READ = 64
"""Pictures that are read at once."""
APART = 1 << 32
"""Between the keys of a wish's candidates: a wish is drawn the same however many stand beside it."""

Wish = tuple[str | None, Sequence[int] | None]


def draw_best(
    model: Model, wishes: Sequence[Wish], sampling: Sampling = Sampling(), candidates: int = 1
) -> np.ndarray:
    """int32 codes `[wishes, codes]` of a picture for each (language, caption ids), the best read of so many; the first is
    what `draw_pictures` draws with the same sampling. A caption of None is met by any picture: by the first."""
    several = candidates if sampling.temperature else 1  # the likeliest codes are the same each time
    drawn = [
        draw_pictures(model, wishes, sampling, first=number * APART) for number in range(max(1, several))
    ]
    if len(drawn) == 1:
        return drawn[0]
    read = np.stack([unread(model, codes, wishes) for codes in drawn])
    return np.stack(drawn)[read.argmin(0), np.arange(len(wishes))]


def unread(model: Model, codes: np.ndarray, wishes: Sequence[Wish]) -> np.ndarray:
    """Bits that each caption costs who has seen the picture of int codes `[wishes, codes]`: float64 `[wishes]`, 0 for none."""
    s = model.sequences
    paths = [
        ([*s.picture(row), *s.question(lang, TASK)], list(ids or ()), True)
        for row, (lang, ids) in zip(codes, wishes, strict=True)
    ]
    parts = [bits(model, paths[start : start + READ]) for start in range(0, len(paths), READ)]
    return np.concatenate(parts) if parts else np.zeros(0)
