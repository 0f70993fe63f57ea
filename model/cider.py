"""CIDEr-D: how alike two captions are in the runs of words that set a picture apart (Vedantam et al. 2015, arXiv 1411.5726).

Runs of one to four words are weighted by how few references have them; what is said more often than in the reference does
not count, and a caption of another length is worth less.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

LONGEST, SIGMA, SCALE = 4, 6.0, 10.0
"""Words in a run; how fast another length is worth less, words; the best score."""

Runs = Counter[tuple[str, ...]]


def cider(said: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each caption against its one reference, words each, 0 to 10; how rare runs are is told by all references."""
    references = [runs(one) for one in right]
    seen = Counter(run for one in references for run in one)
    most = math.log(max(len(references), 1))
    rarity = {run: most - math.log(n) for run, n in seen.items()}
    return [
        _alike(runs(a), b, len(words), len(wanted), rarity, most)
        for a, b, words, wanted in zip(said, references, said, right, strict=True)
    ]


def runs(words: Sequence[str]) -> Runs:
    """How often each run of one to four words occurs."""
    return Counter(tuple(words[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(words) - n + 1))


def _alike(said: Runs, right: Runs, long: int, wanted: int, rarity: dict, most: float) -> float:
    total = 0.0
    for n in range(1, LONGEST + 1):
        a, b = (
            {run: k * rarity.get(run, most) for run, k in one.items() if len(run) == n}
            for one in (said, right)
        )
        norm = math.sqrt(sum(v * v for v in a.values())) * math.sqrt(sum(v * v for v in b.values()))
        if norm:
            total += sum(min(v, b[run]) * b[run] for run, v in a.items() if run in b) / norm
    return SCALE * total / LONGEST * math.exp(-((long - wanted) ** 2) / (2 * SIGMA**2))
