"""One picture on a page: which of its many addresses to take, its size, whether it only counts visitors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from lxml import etree

WIDEST = 2048
"""Of several sizes the largest up to so many pixels is taken; if all are larger, the smallest."""
LONGEST_URL = 4096
CANDIDATES = 100
"""Candidates of a srcset that are looked at."""
LAZY = (
    "data-src",
    "data-original",
    "data-lazy-src",
    "data-lazy",
    "data-url",
    "data-hi-res-src",
    "data-image",
)
LAZY_SETS = ("data-srcset", "data-lazy-srcset", "data-original-set")
READABLE = frozenset(
    [
        "image/" + kind
        for kind in ("jpeg", "jpg", "pjpeg", "png", "apng", "gif", "webp", "avif", "bmp", "tiff")
    ]
)
"""Media types of `<source>` elements worth taking."""
_PLACEHOLDER = re.compile(
    r"/(?:(?:spacer|blank|placeholder|transparent|loading|1x1)(?:[_.-]?\d+(?:x\d+)?)?\.(?:gif|png|svg)"
    r"|(?:pixel|clear|dot|lazy)\.gif)$",
    re.IGNORECASE,
)
_PIXELS = re.compile(r"\s*(\d{1,6})(?:\.\d{1,6})?\s*(?:px)?\s*$")
_STYLE_SIDE = re.compile(r"(?:^|;)\s*(width|height)\s*:\s*(\d{1,6})(?:\.\d+)?px", re.IGNORECASE)


def absolute(base: str, url: str | None) -> str | None:
    """The http(s) URL that a link means, without its fragment; None for `data:` and all that is none."""
    if not url or len(url) > LONGEST_URL:
        return None
    try:
        parts = urlsplit(urljoin(base, re.sub(r"[\t\r\n]", "", url).strip()))
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
            return None
        made = parts._replace(
            scheme=parts.scheme.lower(),
            netloc=parts.netloc.lower() if "@" not in parts.netloc else parts.netloc,
            path=_quoted(parts.path or "/"),
            query=_quoted(parts.query),
            fragment="",
        )
        return urlunsplit(made)
    except (ValueError, UnicodeError):
        return None


def _quoted(text: str) -> str:
    """Spaces, quotes and letters beyond ASCII escaped as browsers do; what is escaped already stays."""
    return quote(text, safe="!$%&'()*+,/:;=?@[]~|^", errors="replace")


def source(img: etree._Element, base: str) -> str | None:
    """The URL of the picture that an `<img>` shows, once scripts have loaded it."""
    sets = [img.get(name) for name in (*LAZY_SETS, "srcset")]
    sets += [
        value for element in _sources(img) for value in (element.get("srcset"), element.get("data-srcset"))
    ]
    sized = [candidate for value in sets if value for candidate in candidates(value)]
    if (best := largest(sized)) and (url := absolute(base, best)) and not placeholder(url):
        return url
    for name in (*LAZY, "src"):
        url = absolute(base, img.get(name))
        if url is not None and not placeholder(url):
            return url
    return None


def _sources(img: etree._Element) -> Iterator[etree._Element]:
    """The `<source>` elements of the picture; the parser may nest what follows one within it."""
    picture = img.getparent()
    for _ in range(8):
        if picture is None or picture.tag != "source":
            break
        picture = picture.getparent()
    if picture is not None and picture.tag == "picture":
        for element in picture.iter("source"):
            if not (kind := (element.get("type") or "").strip().lower()) or kind in READABLE:
                yield element


def candidates(srcset: str) -> list[tuple[str, float, str]]:
    """(URL, number, "w" or "x") of each candidate of a srcset, as the standard reads it."""
    found: list[tuple[str, float, str]] = []
    at, end = 0, len(srcset)
    while at < end and len(found) < CANDIDATES:
        while at < end and (srcset[at].isspace() or srcset[at] == ","):
            at += 1
        start = at
        while at < end and not srcset[at].isspace():
            at += 1
        url, words = srcset[start:at], ""
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            comma = srcset.find(",", at)
            words, at = (srcset[at:comma], comma) if comma >= 0 else (srcset[at:], end)
        if url:
            found.append((url, *_descriptor(words)))
    return found


def _descriptor(words: str) -> tuple[float, str]:
    for word in words.split()[:4]:
        if re.fullmatch(r"\d{1,6}w", word):
            return float(word[:-1]), "w"
        if re.fullmatch(r"\d{1,4}(?:\.\d{1,4})?x", word):
            return float(word[:-1]), "x"
    return 1.0, "x"


def largest(sized: list[tuple[str, float, str]]) -> str | None:
    """The largest sensible candidate; the first among equals."""
    wide = [(url, number) for url, number, unit in sized if unit == "w" and number > 0]
    if wide:
        sensible = [one for one in wide if one[1] <= WIDEST]
        return max(sensible, key=lambda one: one[1])[0] if sensible else min(wide, key=lambda one: one[1])[0]
    dense = [(url, number) for url, number, unit in sized if unit == "x" and number <= 4]
    return max(dense, key=lambda one: one[1])[0] if dense else None


def placeholder(url: str) -> bool:
    """Whether the name says that it only holds a place or counts a visit."""
    return bool(_PLACEHOLDER.search(urlsplit(url).path))


def sides(img: etree._Element) -> tuple[int | None, int | None]:
    """Width and height in CSS pixels where the page states them."""
    style = {
        name.lower(): int(number) for name, number in _STYLE_SIDE.findall((img.get("style") or "")[:2000])
    }
    found = []
    for name in ("width", "height"):
        match = _PIXELS.match(img.get(name) or "")
        found.append(int(match[1]) if match else style.get(name))
    return found[0], found[1]
