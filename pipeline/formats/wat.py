"""What a WAT record says of a page: its title, its robots words, its pictures with their alternative texts."""

from __future__ import annotations

import json
from typing import Any

from pipeline.formats import languages, rights
from pipeline.formats.head import Head, squeezed
from pipeline.formats.html import MAX_PICTURES, Page
from pipeline.formats.img import absolute, placeholder
from pipeline.formats.pictures import Picture, line

MOST = 100_000
"""Links of one page that are looked at."""


def read_links(raw: bytes) -> tuple[Page | None, dict[str, str]]:
    """The page and its HTTP headers; None for a record that is not about a page (a request, another file)."""
    try:
        envelope = _object(json.loads(raw), "Envelope")
    except (ValueError, RecursionError):
        return Page("", cut="not JSON"), {}
    url = absolute("", _text(_object(envelope, "WARC-Header-Metadata").get("WARC-Target-URI")))
    response = _object(_object(envelope, "Payload-Metadata"), "HTTP-Response-Metadata")
    html = _object(response, "HTML-Metadata")
    if not html or url is None:
        return None, {}
    headers = {str(name).lower(): _text(value) or "" for name, value in _object(response, "Headers").items()}
    head = _object(html, "Head")
    base = absolute(url, _text(head.get("Base"))) or url
    pictures = dict.fromkeys(_pictures(html.get("Links"), base))
    return Page(url, _head(head), tuple(pictures)[:MAX_PICTURES]), headers


def _pictures(links: Any, base: str) -> list[Picture]:
    found = []
    for link in links[:MOST] if isinstance(links, list) else ():
        if isinstance(link, dict) and str(link.get("path", "")).upper() in ("IMG@/SRC", "IMG@/DATA-SRC"):
            url = absolute(base, _text(link.get("url")))
            if url is not None and not placeholder(url):
                found.append(Picture(url, line(_text(link.get("alt"))), title=line(_text(link.get("title")))))
    return found


def _head(head: dict[str, Any]) -> Head:
    metas = head.get("Metas")
    robots, lang, licence = [], None, None
    for meta in metas[:1000] if isinstance(metas, list) else ():
        if not isinstance(meta, dict):
            continue
        name = (_text(meta.get("name")) or _text(meta.get("property")) or "").strip().lower()
        content = squeezed(_text(meta.get("content"))) or ""
        if "robots" in name or "bot" in name or "tdm" in name:
            robots.append((name[:100], content.lower()))
        lang = lang or (languages.tag(content) if name in ("og:locale", "language", "dc.language") else None)
    links = head.get("Link")
    for link in links[:1000] if isinstance(links, list) else ():
        if isinstance(link, dict) and "license" in str(link.get("rel", "")).lower():
            licence = licence or rights.licence(_text(link.get("url")))
    return Head(title=squeezed(_text(head.get("Title"))), lang=lang, licence=licence, robots=tuple(robots))


def _object(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
