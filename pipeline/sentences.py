"""Sentences of a text, in the languages that sentencex knows, and smaller pieces of a sentence that is too long.

Every function cuts a text into pieces that give it back when joined: nothing is lost, white space included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import sentencex

_CLAUSE = re.compile(r"(?<=[,;:—–])\s+|(?<=[，；：、،؛])\s*|\n+")
_WORD = re.compile(r"\s+|(?<=[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])")
_ABBREVIATED = {
    "en": re.compile(
        r"(?:^|\W)(?:Ms|Mx|Messrs|Capt|Lt|Sgt|Rev|Hon|Gov|Sen|Rep|approx|vs|viz|cf|Figs?|Eqs?|[Cc]h|pp|vol|al)\.\s+$"
    ),
    "fr": re.compile(r"(?:^|\s)MM?\.\s+$"),
    "es": re.compile(r"(?:^|\s)(?:EE|Sres?|Dñ?a|D|págs?)\.\s+$"),
    "de": re.compile(r"(?:^|\s)(?:z|d|u|i|o|s|v|Hr|Fr|bzgl|evtl|ggf|inkl|vgl)\.\s+$"),
}
"""Words after which no sentence ends, beside those that sentencex knows."""
_SAYS = re.compile(r"(?:と|って)(?![こきこも])")
"""What goes on with a sentence in Japanese after a quotation."""
_LETTER = re.compile(r"\w")
_NO = re.compile(r"(?<=\b[Nn]o\. )(?=[^\W\d_a-z]|[¿¡])")
"""An answer, which is taken for the abbreviation of "number"."""
GROUP = 16
"""Characters of the smallest pieces."""


def sentences(text: str, lang: str | None = None) -> list[str]:
    """The sentences of a text, each with the white space behind it; `lang` is a BCP 47 tag, English if unknown."""
    code = (lang or "en").split("-")[0].lower()
    return list(_mended(sentencex.segment(code, text), code)) if text else []


def _mended(found: list[str] | Iterator[str], lang: str) -> Iterator[str]:
    """Joins what was cut within a sentence, and white space or signs to what they follow."""
    held = ""
    abbreviated = _ABBREVIATED.get(lang)
    for piece in found:
        goes_on = held and (
            not _LETTER.search(piece)
            or (abbreviated is not None and abbreviated.search(held))
            or (lang == "ja" and held[-1] in "」』" and _SAYS.match(piece))
        )
        if held and not goes_on:
            yield from _NO.split(held)
            held = ""
        held += piece
    if held:
        yield from _NO.split(held)


def clauses(text: str) -> list[str]:
    """Pieces that end in a comma, a semicolon, a colon, a dash or a line."""
    return _cut(text, _CLAUSE)


def words(text: str) -> list[str]:
    """Words, each with the space behind it; characters where a script has no spaces."""
    return _cut(text, _WORD)


def groups(text: str) -> list[str]:
    """Runs of a few characters, for what has no words."""
    return [text[start : start + GROUP] for start in range(0, len(text), GROUP)]


def characters(text: str) -> list[str]:
    """Single characters."""
    return list(text)


def _cut(text: str, ends: re.Pattern[str]) -> list[str]:
    places = [0, *(found.end() for found in ends.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(places) if b > a]
