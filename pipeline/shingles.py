"""The words of a text and the runs of words (shingles) that it is compared by, hashed for a whole column at once.

Case, white space, punctuation and composition (NFKC) do not count. Scripts that write no spaces between words, and
emoji, give a word for each character, so that runs of words are runs of characters there. A text of fewer words than
a run is one run by itself.

All hashes are polynomials modulo 2^64 over prefix sums, so that a run costs the same however long it is.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # Han
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),  # Han
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAA7F),  # Myanmar
    (0xF900, 0xFAFF),  # Han
    (0x20000, 0x323AF),  # Han
)
"""Blocks of the scripts that write no spaces between words (Unicode 16)."""
SKIN_TONES = (0x1F3FB, 0x1F3FF)
SELECTORS = (0xFE00, 0xFE0F)
"""Variation selectors say how a character is drawn, not which it is."""
ASCII = 128
LAST = 0x323B0
"""Code points from here on (private use, tags, unassigned) are no words."""
BETWEEN, PART, ALONE = 0, 1, 2
"""What a character is: between words, part of one, or one by itself."""
PROMPT = np.uint64(0x70726F6D70740000)
"""Tells what is asked from what is said; the lower bits stay."""
BASE = np.uint64(0x9E3779B97F4A7C15)
INVERSE = np.uint64(pow(int(BASE), -1, 1 << 64))


def words(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the words of n texts (null is empty), in their order: uint64 [w]; and where each text's words
    begin and the last ones end: int64 [n + 1]."""
    codes, starts = _characters(texts)
    kinds, values = _alphabet(ASCII if codes.dtype == np.uint8 else LAST + 1)
    kind = kinds[codes]
    part = kind == PART
    first = np.zeros(len(codes) + 1, bool)
    first[starts] = True
    goes_on = np.zeros(len(codes) + 1, bool)  # from the character before
    goes_on[1:-1] = part[1:] & part[:-1]
    goes_on &= ~first
    begin = np.flatnonzero((kind != BETWEEN) & ~goes_on[:-1])
    end = np.flatnonzero((kind != BETWEEN) & ~goes_on[1:]) + 1
    return hashed(values[codes], begin, end), np.searchsorted(begin, starts)


def runs(hashes: np.ndarray, starts: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the runs of `length` [n] words of each of n texts, repetitions included: uint64 [m]; and where each
    text's begin: int64 [n + 1]. `hashes` and `starts` are those of `words`."""
    there = np.diff(starts)
    length = np.minimum(length, there)
    counts = np.where(there > 0, there - length + 1, 0)
    ends = _ends(counts)
    begin = np.arange(ends[-1]) + np.repeat(starts[:-1] - ends[:-1], counts)
    return hashed(hashes, begin, begin + np.repeat(length, counts)), ends


@dataclass(frozen=True)
class Worded:
    """The words of n rows: of what is asked (perhaps nothing) and of what is said."""

    prompts: tuple[np.ndarray, np.ndarray]
    texts: tuple[np.ndarray, np.ndarray]

    @classmethod
    def read(cls, prompts: pa.Array, texts: pa.Array) -> Worded:
        return cls(words(prompts), words(texts))

    def count(self) -> np.ndarray:
        """Words of each row: int64 [n]."""
        return np.diff(self.prompts[1]) + np.diff(self.texts[1])

    def shingles(self, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of each row's runs of `length` [n] words: uint64 [m], below 2^32; where each row's begin: [n + 1].

        Prompt and text weigh the same: the runs of the side that has fewer come in as many copies as it takes, each
        with a hash of its own. Where the ratio is no whole number, a run's own hash rounds it.
        """
        asked, said = runs(*self.prompts, length), runs(*self.texts, length)
        ours, theirs = np.diff(asked[1]), np.diff(said[1])
        sides = [
            _copied(asked[0] ^ PROMPT, ours, theirs),
            _copied(said[0], theirs, ours),
        ]
        of_row = np.concatenate([row for _, row in sides])
        order = np.argsort(of_row, kind="stable") if len(asked[0]) else slice(None)
        found = np.concatenate([made for made, _ in sides])[order]
        return found >> np.uint64(32), _ends(np.bincount(of_row, minlength=len(length)))


def _copied(hashes: np.ndarray, counts: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Copies of the runs of one side, each mixed anew, and the row of each; `others` counts the other side's runs."""
    row = np.repeat(np.arange(len(counts)), counts)
    ratio = np.maximum(others / np.maximum(counts, 1), 1.0)[row]
    times = (ratio + (hashes & np.uint64(0xFFFF)) / 65536.0).astype(np.int64)
    number = np.arange(times.sum()) - np.repeat(_ends(times)[:-1], times)
    return mixed(np.repeat(hashes, times) + number.astype(np.uint64) * BASE), np.repeat(row, times)


def _ends(counts: np.ndarray) -> np.ndarray:
    """Where pieces of these sizes begin, and the last one ends: int64 [n + 1]."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def hashed(values: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """A hash of each of the stretches values[begin:end]: uint64 [m]. Equal stretches have equal ones."""
    if not len(begin):
        return np.empty(0, np.uint64)
    powers, inverses = _powers(max(1 << 12, 1 << (len(values) - 1).bit_length()))
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * powers[: len(values)], out=sums[1:])
    return mixed((sums[end] - sums[begin]) * inverses[begin])


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Numbers spread over all 64 bits, one to one (the finalizer of SplitMix64, Steele et al. 2014)."""
    numbers = numbers ^ (numbers >> np.uint64(30))
    numbers *= np.uint64(0xBF58476D1CE4E5B9)
    numbers ^= numbers >> np.uint64(27)
    numbers *= np.uint64(0x94D049BB133111EB)
    numbers ^= numbers >> np.uint64(31)
    return numbers


def _characters(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Code points of all texts, folded: [m]; and where each text's begin: int64 [n + 1]."""
    texts = pc.fill_null(texts.cast(pa.string()), "")
    plain = pc.all(pc.string_is_ascii(texts)).as_py() is not False
    texts = pc.ascii_lower(texts) if plain else pc.utf8_lower(pc.utf8_normalize(texts, "NFKC"))
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(pc.utf8_length(texts).to_numpy(), out=starts[1:])
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(texts)], texts), "")[0].as_py()
    if plain:
        return np.frombuffer(joined.encode(), np.uint8), starts
    return np.minimum(np.frombuffer(joined.encode("utf-32-le"), np.uint32), LAST), starts


@cache
def _alphabet(size: int) -> tuple[np.ndarray, np.ndarray]:
    """What each of the first code points is, uint8, and a number for it, uint64."""
    classes = {"L": PART, "M": PART, "N": PART}
    kinds = np.fromiter(
        (
            ALONE
            if (category := unicodedata.category(chr(code))) == "So"
            else classes.get(category[0], BETWEEN)
            for code in range(size)
        ),
        np.uint8,
    )
    for low, high in UNSPACED:
        block = kinds[low : high + 1]
        block[block != BETWEEN] = ALONE
    kinds[SKIN_TONES[0] : SKIN_TONES[1] + 1] = ALONE
    kinds[SELECTORS[0] : SELECTORS[1] + 1] = BETWEEN
    kinds[LAST:] = BETWEEN
    return kinds, mixed(np.arange(1, size + 1, dtype=np.uint64) * BASE)


@cache
def _powers(size: int) -> tuple[np.ndarray, np.ndarray]:
    """BASE and its inverse modulo 2^64, to the powers 0 to size - 1."""
    made = []
    for base in (BASE, INVERSE):
        factors = np.full(size, base)
        factors[0] = 1
        made.append(np.cumprod(factors, dtype=np.uint64))
    return made[0], made[1]
