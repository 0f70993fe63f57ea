"""What a report may show of a text: contact details are masked, and some rows are not shown at all."""

from __future__ import annotations

import re
from urllib.parse import unquote

from pipeline.annotators.contact_details import count_emails, count_telephones

EMAIL = re.compile(
    r"[^\s@<>()\[\]{},;:\"']+\s?(?:@|\(at\)|\[at\])\s?[^\s@<>()\[\]{},;:\"']+\.[^\W\d_]{2,}", re.IGNORECASE
)
NUMBER = re.compile(r"(?<![\w.])(?:\+|\(?0|\(?\d)[\d\s()./\-–‑]{5,}\d(?!\w)")
LEAST_DIGITS = 7
"""Telephone numbers are longer than years, prices and most counts."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of the text around them."""

PERSONAL = re.compile(r"contact|pii|personal|privacy|e?-?mail|phone|secret", re.IGNORECASE)
UNWANTED = re.compile(
    r"consent|opt_?-?out|robots|licen[cs]e|nsfw|unsafe|safety|forgotten|takedown|blocked", re.IGNORECASE
)
LONGEST = 280
"""Characters of a text that are shown."""


def masked(text: str | None) -> str | None:
    """The text without e-mail addresses and telephone numbers."""
    if text is None:
        return None
    return NUMBER.sub(_number, EMAIL.sub("[e-mail masked]", text))


def _number(match: re.Match[str]) -> str:
    digits = sum(character.isdigit() for character in match[0])
    return "[number masked]" if digits >= LEAST_DIGITS else match[0]


def shown(text: str | None, longest: int = LONGEST) -> str | None:
    """A text as the report shows it: masked, shortened, without control characters."""
    if text is None:
        return None
    found = masked(CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)) or ""
    if count_emails(found) or count_telephones(found):  # spelled in a way that the patterns above do not know
        return withheld(text)
    return found if len(found) <= longest else found[: longest - 1].rstrip() + "…"


def shown_path(path: str | None, longest: int = 120) -> str | None:
    """An origin as the report shows it: a file name may hold an address; its digits are no number."""
    if path is None:
        return None
    found = EMAIL.sub("[e-mail masked]", CONTROL.sub("\N{REPLACEMENT CHARACTER}", unquote(path)))
    return found if len(found) <= longest else "…" + found[1 - longest :]


def withheld(text: str | None) -> str:
    """What stands in place of a text that is not shown."""
    return f"text not shown ({len(text):,} characters)" if text else "no text"


def hides_text(reason: str | None) -> bool:
    """Whether the texts of rows dropped for this reason are not shown."""
    return bool(reason) and bool(PERSONAL.search(str(reason)) or UNWANTED.search(str(reason)))


def hides_picture(reason: str | None) -> bool:
    """Whether the pictures of rows dropped for this reason are not shown."""
    return bool(reason) and bool(UNWANTED.search(str(reason)))
