"""Sitemaps: an index of others, or a list of pages with the time of their last change; XML or lines, plain or gzipped."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from lxml import etree

from pipeline.formats import xml_tree
from pipeline.formats.charset import decode
from pipeline.formats.img import absolute

MAX_BYTES = 64 << 20
"""Of an unpacked sitemap; the protocol allows 50 MB."""
MOST = 200_000
"""Entries of one file; the protocol allows 50,000."""
_LASTMOD = re.compile(r"[0-9T:.+Z-]{4,40}")


@dataclass(frozen=True)
class Sitemap:
    """What one file lists."""

    pages: tuple[tuple[str, str | None], ...] = ()
    """(URL, when it last changed)."""
    sitemaps: tuple[tuple[str, str | None], ...] = ()
    wrong: str | None = None
    """Why nothing, or not all, could be read."""


def parse(raw: bytes, url: str) -> Sitemap:
    """Reads a sitemap that came from `url`; what can be read of a broken one is kept."""
    wrong = None
    if raw[:2] == b"\x1f\x8b":
        raw, wrong = _unpack(raw)
    if raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"<":
        return _lines(raw, url, wrong)
    parser = xml_tree.parser(recover=True)
    try:
        root = etree.fromstring(raw, parser)
    except (etree.LxmlError, ValueError):
        root = None
    if root is None:
        return Sitemap(wrong=wrong or "not a sitemap")
    found: dict[str, list[tuple[str, str | None]]] = {"url": [], "sitemap": []}
    for element in root.iter("{*}url", "{*}sitemap"):
        entries = found[etree.QName(element).localname]
        location = absolute(url, element.findtext("{*}loc"))
        if location is None:
            continue
        if len(entries) >= MOST:
            wrong = f"over {MOST} entries"
            break
        changed = (element.findtext("{*}lastmod") or "").strip()
        entries.append((location, changed if _LASTMOD.fullmatch(changed) else None))
    if (
        not found["url"]
        and not found["sitemap"]
        and etree.QName(root).localname not in ("urlset", "sitemapindex")
    ):
        return Sitemap(wrong=wrong or "not a sitemap")
    broken = wrong or ("broken XML" if parser.error_log else None)
    return Sitemap(tuple(found["url"]), tuple(found["sitemap"]), broken)


def _lines(raw: bytes, url: str, wrong: str | None) -> Sitemap:
    """One URL a line."""
    lines = decode(raw[:MAX_BYTES]).split("\n", MOST)[:MOST]
    found = [
        absolute(url, line.strip()) for line in lines if line.strip().startswith(("http://", "https://"))
    ]
    pages = tuple((page, None) for page in found if page)
    return Sitemap(pages, wrong=wrong if pages else wrong or "not a sitemap")


def _unpack(raw: bytes) -> tuple[bytes, str | None]:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        made = unpacker.decompress(raw, MAX_BYTES)
    except zlib.error as error:
        return b"", f"broken gzip: {error}"
    return made, None if unpacker.eof else "longer than the limit, or cut off"
