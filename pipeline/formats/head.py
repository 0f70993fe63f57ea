"""What a page says of itself: title, language, author, licence, and what robots may do with it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from lxml import etree

from pipeline.formats import languages, rights
from pipeline.formats.img import absolute

LONGEST = 1000
"""Characters kept of a title, an author, a licence."""
ELEMENTS = 400
"""Elements of one kind that are looked at."""
TITLES = ("og:title", "twitter:title", "dc.title", "citation_title")
AUTHORS = ("author", "article:author", "dc.creator", "dcterms.creator", "citation_author")
LICENCES = ("dc.rights.license", "dcterms.license", "dc.license", "license", "licence")


@dataclass(frozen=True)
class Head:
    """What stands in a page's head, or in its stead."""

    title: str | None = None
    lang: str | None = None
    author: str | None = None
    licence: str | None = None
    robots: tuple[tuple[str, str], ...] = ()
    """(name, content) of each meta element that may speak to robots, in lower case."""


def read_head(root: etree._Element, base: str) -> Head:
    """The head of a parsed page."""
    metas = _metas(root)
    title = first_text(root, "title") or _first(metas, TITLES) or first_text(root, "h1")
    author = next((value for value in _all(metas, AUTHORS) if not _scheme(value)), None)
    return Head(
        title=title,
        lang=_language(root, metas),
        author=author or _linked(root, "author"),
        licence=_licence(root, metas, base),
        robots=tuple(
            (name, value.lower())
            for name, value in metas
            if "robots" in name or "bot" in name or "tdm" in name
        ),
    )


def base_of(root: etree._Element, url: str) -> str:
    """What relative URLs are relative to: the page, or what its `<base>` says."""
    for element in root.iter("base"):
        if element.get("href") is not None:
            return absolute(url, element.get("href")) or url
    return url


def first_text(root: etree._Element, tag: str) -> str | None:
    """The text of the first element of that name which has any; that of a drawing's parts does not count."""
    for number, element in enumerate(root.iter(tag)):
        if number >= ELEMENTS:
            break
        text = squeezed("".join(element.itertext()))
        if text and not any(above.tag == "svg" for above in element.iterancestors()):
            return text
    return None


def squeezed(text: str | None) -> str | None:
    """The text on one line and not too long; None for nothing."""
    return " ".join((text or "")[: 16 * LONGEST].split())[:LONGEST].strip() or None


def _scheme(value: str) -> str:
    """The scheme if the value is a URL."""
    try:
        return urlsplit(value).scheme if "//" in value else ""
    except ValueError:
        return ""


def _metas(root: etree._Element) -> list[tuple[str, str]]:
    """(name, content) of the meta elements, names in lower case."""
    found = []
    for number, element in enumerate(root.iter("meta")):
        if number >= ELEMENTS:
            break
        name = element.get("name") or element.get("property") or element.get("http-equiv") or ""
        if name and (content := squeezed(element.get("content"))):
            found.append((name.strip().lower()[:100], content))
    return found


def _all(metas: list[tuple[str, str]], names: tuple[str, ...]) -> list[str]:
    return [value for wanted in names for name, value in metas if name == wanted]


def _first(metas: list[tuple[str, str]], names: tuple[str, ...]) -> str | None:
    return next(iter(_all(metas, names)), None)


def _language(root: etree._Element, metas: list[tuple[str, str]]) -> str | None:
    """The BCP 47 language of the page; several, or one that is none, count as not stated."""
    stated = [root.get("lang"), root.get("{http://www.w3.org/XML/1998/namespace}lang"), root.get("xml:lang")]
    body = root.find("body")
    stated += [body.get("lang")] if body is not None else []
    for value in (*stated, *_all(metas, ("content-language", "og:locale", "dc.language", "language"))):
        if (found := languages.tag(value)) is not None:
            return found
    return None


def _linked(root: etree._Element, kind: str) -> str | None:
    for number, element in enumerate(root.iter("a")):
        if number >= ELEMENTS:
            return None
        if kind in (element.get("rel") or "").lower().split() and (
            text := squeezed("".join(element.itertext()))
        ):
            return text
    return None


def _licence(root: etree._Element, metas: list[tuple[str, str]], base: str) -> str | None:
    """The licence that the head names, or the one licence that all links of the page name."""
    linked: dict[str, list[str]] = {"link": [], "a": []}
    for tag, found in linked.items():
        for element in root.iter(tag):
            words = (element.get("rel") or "").lower().split()
            if ("license" in words or "licence" in words) and (url := absolute(base, element.get("href"))):
                found.append(rights.licence(url) or url)
    named = (
        linked["link"] or [rights.licence(value) or value for value in _all(metas, LICENCES)] or linked["a"]
    )
    return named[0] if named and len(set(named)) == 1 else None
