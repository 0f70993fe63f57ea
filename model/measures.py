"""How near a text comes to the one that was expected, by the measures of each field.

A measure gives every item numbers that add up, and says what a sum of them is worth: so the score of one item, of all, of a
group and of each bootstrap resample are the same sum over other rows, also where a score of all is no mean of scores (BLEU,
chrF).
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import LCSseq
from sacrebleu.metrics import BLEU, CHRF

from model.cider import cider

RESAMPLES = 1_000
NGRAMS = 4
"""Words in a row that BLEU looks at."""
ORDERS, WORD_ORDERS, BETA = 6, 2, 2
"""Of chrF: characters in a row, words in a row (chrF++), and how much more recall counts than precision."""
APART = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f\u1780-\u17ff\u0e80-\u0eff\u1000-\u109f])")
"""Scripts without spaces: each letter counts as a word."""
Score = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Counted:
    """Items under one measure."""

    sums: np.ndarray
    """float64 `[items, numbers]`: what adds up over items."""
    score: Score
    """Sums `[n, numbers]` to scores `[n]`."""

    @property
    def each(self) -> np.ndarray:
        """The score of each item by itself: float64 `[items]`."""
        return self.score(self.sums)

    def of(self, chosen: np.ndarray) -> Counted:
        """Some of the items."""
        return Counted(self.sums[chosen], self.score)

    def whole(self) -> float:
        """The score of all items."""
        return float(self.score(self.sums.sum(0, keepdims=True))[0])

    def interval(self, weights: np.ndarray) -> tuple[float, float, float]:
        """The score of all items and its 95% bootstrap bounds; `weights` are those of `resamples`."""
        low, high = np.quantile(self.score(weights @ self.sums), [0.025, 0.975])
        value = self.whole()
        return value, min(float(low), value), max(float(high), value)


def resamples(items: int, seed: int = 0) -> np.ndarray:
    """How often each item is drawn in each bootstrap resample: float64 `[resamples, items]`."""
    rng = np.random.Generator(np.random.Philox(key=[seed, items]))
    return rng.multinomial(items, np.full(items, 1 / items), RESAMPLES).astype(np.float64)


def mean(values: Sequence[float] | np.ndarray) -> Counted:
    """A measure whose score is the mean over items."""
    return ratio(values, np.ones(len(values)))


def ratio(above: Sequence[float] | np.ndarray, below: Sequence[float] | np.ndarray) -> Counted:
    """A measure whose score is a sum over a sum, such as bits per byte."""
    sums = np.stack([np.asarray(above, np.float64), np.asarray(below, np.float64)], 1)
    return Counted(sums, lambda s: s[:, 0] / np.maximum(s[:, 1], 1e-12))


def exact(said: Sequence[str], right: Sequence[str], langs: Sequence[str] = ()) -> Counted:
    """Share that is exactly right, white space at the ends apart."""
    return mean([a.strip() == b.strip() for a, b in zip(said, right, strict=True)])


def accuracy(said: Sequence[str], right: Sequence[str], langs: Sequence[str] = ()) -> Counted:
    """Share that is right but for case, punctuation at the ends, and articles."""
    return mean([bare(a) == bare(b) for a, b in zip(said, right, strict=True)])


def f1(said: Sequence[str], right: Sequence[str], langs: Sequence[str] = ()) -> Counted:
    """Mean F1 of the words that said and expected share, as SQuAD counts them."""
    return mean([_shared(words(bare(a)), words(bare(b))) for a, b in zip(said, right, strict=True)])


def rouge_l(said: Sequence[str], right: Sequence[str], langs: Sequence[str] = ()) -> Counted:
    """Mean F1 of the longest common subsequence of words."""
    found = []
    for a, b in zip(map(words, said), map(words, right), strict=True):
        common = LCSseq.similarity(a, b)
        found.append(2 * common / (len(a) + len(b)) if a or b else 1.0)
    return mean(found)


def cider_d(said: Sequence[str], right: Sequence[str], langs: Sequence[str] = ()) -> Counted:
    """Mean CIDEr-D, how rare a run of words is being told by the references."""
    return mean(cider([words(one) for one in said], [words(one) for one in right]))


def bleu(said: Sequence[str], right: Sequence[str], langs: Sequence[str] = ()) -> Counted:
    """sacreBLEU: tokens as by 13a, Chinese ones by its own rule, smoothed exponentially."""
    by_rule = {name: BLEU(tokenize=name, effective_order=True) for name in ("13a", "zh")}
    spoken = langs or [""] * len(said)
    rows = []
    for a, b, lang in zip(said, right, spoken, strict=True):
        one = by_rule["zh" if lang.startswith("zh") else "13a"].sentence_score(a, [b])
        rows.append([one.sys_len, one.ref_len, *one.counts, *one.totals])
    return Counted(np.array(rows, np.float64).reshape(-1, 2 + 2 * NGRAMS), _bleu)


def chrf(said: Sequence[str], right: Sequence[str], langs: Sequence[str] = ()) -> Counted:
    """chrF by sacreBLEU: F2 of the runs of up to six characters."""
    return _chrf(said, right, 0)


def chrf_plus(said: Sequence[str], right: Sequence[str], langs: Sequence[str] = ()) -> Counted:
    """chrF++ by sacreBLEU: runs of one and two words, too."""
    return _chrf(said, right, WORD_ORDERS)


def words(text: str) -> list[str]:
    """Words in lower case without punctuation; each letter of a script without spaces."""
    return re.findall(r"\w+", APART.sub(r" \1 ", unicodedata.normalize("NFC", text).lower()))


def bare(text: str) -> str:
    """A short answer without what does not matter: case, punctuation at its ends, an English article before it."""
    plain = " ".join(text.lower().split()).strip(string.punctuation + "。？！，、 ")
    return re.sub(r"^(a|an|the) ", "", plain)


def _shared(said: Sequence[str], right: Sequence[str]) -> float:
    common = sum((Counter(said) & Counter(right)).values())
    if not said or not right:
        return float(said == right)
    return 2 * common / (len(said) + len(right))


def _bleu(sums: np.ndarray) -> np.ndarray:
    said, right, counts, totals = sums[:, 0], sums[:, 1], sums[:, 2 : 2 + NGRAMS], sums[:, 2 + NGRAMS :]
    there = totals > 0
    smooth = 2.0 ** np.cumsum(there & (counts == 0), axis=1)
    share = np.where(counts > 0, counts, 1 / smooth) / np.maximum(totals, 1)
    logs = np.where(there, np.log(np.maximum(share, 1e-300)), 0.0).sum(1) / np.maximum(there.sum(1), 1)
    short = np.minimum(1.0, np.exp(1 - right / np.maximum(said, 1e-12)))
    return np.where((counts.sum(1) > 0) & (said > 0), 100 * short * np.exp(logs), 0.0)


def _chrf(said: Sequence[str], right: Sequence[str], word_order: int) -> Counted:
    scorer = CHRF(ORDERS, word_order, BETA)
    if not len(said):
        return Counted(np.zeros((0, 3 * (ORDERS + word_order))), _f_score)
    rows = scorer._extract_corpus_statistics(
        said, [list(right)]
    )  # what corpus_score adds up; it has no other door
    return Counted(np.array(rows, np.float64), _f_score)


def _f_score(sums: np.ndarray) -> np.ndarray:
    said, right, both = (sums[:, i::3] for i in range(3))
    counted = (said > 0) & (right > 0)
    orders = np.maximum(counted.sum(1), 1)
    precision = np.where(counted, both / np.maximum(said, 1), 0).sum(1) / orders
    recall = np.where(counted, both / np.maximum(right, 1), 0).sum(1) / orders
    below = BETA**2 * precision + recall
    return np.where(below > 0, 100 * (1 + BETA**2) * precision * recall / np.maximum(below, 1e-12), 0.0)
