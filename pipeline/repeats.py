"""Words that a text says over and over, collapsed to one time."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from operator import eq

LONGEST = 8
"""Words of a phrase that is looked for; a caption said twice as a whole may be longer."""
TIMES = 3
"""A phrase so often in a row is a repetition; a single word once more: people do say "very, very, very"."""
MOST_WORDS = 400
_PUNCTUATION = string.punctuation + "“”‘’«»„…–—、。，！？；："
_BARE = bytes(ord(chr(n).lower()) if chr(n).isalnum() or n == 95 else 32 for n in range(128)) + bytes(
    range(128, 256)
)
"""Lower case for letters, a space for punctuation."""
_UNSPACED = re.compile(r"((?:[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]){2,20}?)\1{2,}")
"""The same in scripts without spaces."""


def suspected(text: bytes) -> bool:
    """Whether so many words of an ASCII text come again that `collapsed` may find something: quick, never wrongly false."""
    words = text.translate(_BARE).split()
    return _may_repeat(words)


def _may_repeat(words: Sequence[bytes] | Sequence[str]) -> bool:
    """Whether one of the words comes three times, or all of them twice."""
    distinct = set(words)
    more = len(words) - len(distinct)
    return more >= 2 and (more >= len(distinct) or max(Counter(words).values()) >= TIMES)


def collapsed(text: str) -> str:
    """A text whose immediately repeated phrases stand once: "red barn red barn red barn" is "red barn".

    A phrase of two to eight words counts from three times on, a word from four, a whole text from two; case and
    punctuation around words do not. Numbers may repeat.
    """
    text = _UNSPACED.sub(r"\1", text)
    words = text.split(" ")
    if not 4 <= len(words) <= MOST_WORDS:
        return text
    bare = [word.strip(_PUNCTUATION).casefold() or word for word in words]
    if not _may_repeat(bare):
        return text
    size = 1
    while size <= LONGEST:
        if (found := _run(bare, size)) is None:
            size += 1
            continue
        start, end = found
        stop = (
            end - (end - start) % size
        )  # what follows begins a phrase once more, unless the text ends in it
        for of in (words, bare):
            of[start:] = [*of[start : start + size - 1], of[stop - 1], *(of[stop:] if end < len(of) else ())]
    half = len(bare) // 2
    if bare[:half] == bare[half:] and sum(map(str.isalnum, bare[:half])) >= 3:
        words = [*words[: half - 1], words[-1]]
    return " ".join(words)


def _run(bare: list[str], size: int) -> tuple[int, int] | None:
    """The first stretch in which a phrase of so many words comes again and again, and the rest of one may follow."""
    needed = size * (TIMES - 1) if size > 1 else TIMES
    if sum(map(eq, bare, bare[size:])) < needed:
        return None
    same = 0
    for place in range(len(bare) - size + 1):
        if place + size < len(bare) and bare[place] == bare[place + size]:
            same += 1
            continue
        if same >= needed and any(word.isalpha() for word in bare[place - same : place - same + size]):
            return place - same, place + size
        same = 0
    return None
