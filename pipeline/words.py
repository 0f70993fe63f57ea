"""The words of a text, one by one, in any script."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

from pipeline.shingles import UNSPACED


def words(text: str) -> list[str]:
    """Letters and digits that stand together, with their combining marks and inner hyphens; in scripts that write no
    spaces, each character. Punctuation is in none."""
    return _pattern().findall(text)


@cache
def _pattern() -> re.Pattern[str]:
    # `\w` of `re` has no combining marks, without which Hindi falls into consonants (Unicode, Annex 29, rule WB4)
    marks = "".join(
        chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == "M"
    )
    unspaced = "".join(f"{chr(low)}-{chr(high)}" for low, high in UNSPACED)
    letter = rf"[^\W_{unspaced}]"
    alone = rf"(?=[^\W_]|[{marks}])[{unspaced}]"
    return re.compile(rf"{letter}+(?:(?:[{marks}]+|-(?={letter})){letter}*)*|{alone}")
