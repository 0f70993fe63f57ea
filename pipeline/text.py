"""Text as it comes in, made clean: valid Unicode in NFC, no control characters, plain white space.

What is removed: NUL and other control characters, byte order marks, zero-width spaces, soft hyphens,
bidirectional overrides and isolates, noncharacters, lone surrogates, a stray invalid byte.
What stays: joiners and variation selectors (emoji and Indic scripts need them), direction marks, line breaks
(two at most in a row).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

MAX_BYTES = 256 << 10
"""Longer texts are dropped: `text_too_long`."""
MOST_INVALID = 0.01
"""A text with more undecodable characters than this share is dropped: `invalid_utf8`."""
MOST_MARKS = 30
"""Combining marks kept on one letter, as in Unicode's stream-safe format: endless ones are slow to sort."""

_PLAIN = r"^[!-~]+( [!-~]+)*$"
_PLAIN_BYTES = re.compile(rb"[!-~]+(?: [!-~]+)*")
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_REMOVED = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u202a-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff\ufff9-\uffff"
    + "".join(f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(1, 17))
    + "]"
)
_SPACES = re.compile(r"[^\S\n]+")
_AROUND_BREAKS = re.compile(r" ?\n ?")
_BREAKS = re.compile(r"\n{3,}")
_MARKS = re.compile(rf"[^\x00-\u02ff\w\s]{{{MOST_MARKS + 1},}}")
_ANY_SPACE = re.compile(r"\s+")


def plain(raw: bytes, limit: int = MAX_BYTES) -> str | None:
    """The text of bytes that are clean already: ASCII words with one space between; None for any other."""
    return raw.decode("ascii") if len(raw) <= limit and _PLAIN_BYTES.fullmatch(raw) else None


def clean(
    raw: bytes | None, limit: int = MAX_BYTES, mend: Callable[[str], str] | None = None
) -> tuple[str | None, str | None]:
    """(text, reason): the text is None when there is none left; the reason says why a text was dropped.

    `mend` is given the text as it was decoded, with its control characters. Reasons: text_too_long, invalid_utf8.
    """
    if raw is None:
        return None, None
    if len(raw) > limit:
        return None, "text_too_long"
    if (ready := plain(raw)) is not None:
        return ready, None
    text = _decode(raw)
    if text is None:
        return None, "invalid_utf8"
    if mend is not None:
        text = mend(text)
    text = _REMOVED.sub("", _LINE_ENDS.sub("\n", text))
    text = unicodedata.normalize("NFC", _MARKS.sub(_few_marks, text))
    text = _SPACES.sub(" ", text)
    text = _BREAKS.sub("\n\n", _AROUND_BREAKS.sub("\n", text)).strip()
    return text or None, None


def clean_column(raw: pa.Array | pa.ChunkedArray, limit: int = MAX_BYTES) -> tuple[pa.Array, pa.Array]:
    """Texts and reasons of n binary (or string) values; what is plain ASCII already is passed in bulk."""
    if isinstance(raw, pa.ChunkedArray):
        raw = raw.combine_chunks()
    raw = raw.cast(pa.binary())
    plain = pc.and_(
        pc.match_substring_regex(raw, _PLAIN), pc.less_equal(pc.binary_length(raw), pa.scalar(limit))
    )
    plain = pc.fill_null(plain, True)
    texts = pc.if_else(plain, raw, pa.scalar(None, pa.binary())).cast(pa.string())
    reasons = pa.nulls(len(raw), pa.string())
    rest = pc.indices_nonzero(pc.invert(plain))
    if len(rest):
        cleaned = [clean(value, limit) for value in raw.take(rest).to_pylist()]
        mask = pc.invert(plain)
        texts = pc.replace_with_mask(texts, mask, pa.array([text for text, _ in cleaned], pa.string()))
        reasons = pc.replace_with_mask(reasons, mask, pa.array([why for _, why in cleaned], pa.string()))
    return texts, reasons


def normalise_key(text: str) -> str:
    """What two texts share when they are the same text: case, white space and composition do not count."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return _ANY_SPACE.sub(" ", folded).strip()


def to_bytes(value: str) -> bytes:
    """UTF-8 of a string that may hold surrogates: escaped bytes come back, others are left to `clean`."""
    try:
        return value.encode()
    except UnicodeEncodeError:
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogatepass")


def _decode(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        pass
    try:  # surrogates that JSON let through: pairs are joined, lone ones go
        halves = raw.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass")
        return halves.decode("utf-16-le", "ignore")
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "replace")
        lost = text.count("\ufffd")
        return None if lost > MOST_INVALID * len(text) else text.replace("\ufffd", "")


def _few_marks(run: re.Match[str]) -> str:
    kept, marks = [], 0
    for character in run[0]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= MOST_MARKS:
            kept.append(character)
    return "".join(kept)
