"""What a CNXML module holds: its terms, and its texts and pictures in reading order.

Nothing that a document names is loaded: no entities, no document types, no network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from lxml import etree

from pipeline.formats import mathml, rights, xml_tree
from pipeline.formats.languages import tag

_LINE = "cite cite-title code emphasis entry foreign footnote link meaning newline space span sub sup term"
_INLINE = frozenset(_LINE.split())
"""Elements within a line of text; all others begin and end one."""
_PASSED = frozenset({"metadata", "title", "caption", "label"})
"""What is read where it belongs: with the module, or with the figure."""
_FIGURES = frozenset({"figure", "subfigure"})
_JOINTS = {"entry": " ", "newline": " ", "space": " ", "meaning": ": ", "footnote": " "}
"""What stands between an element's text and the text before it."""


class BrokenModule(Exception):
    """It is no XML that may be read, or no CNXML."""


@dataclass(frozen=True)
class Figure:
    """A picture with what is said of it; `name` is its file's name, without folders."""

    name: str
    alt: str | None = None
    caption: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """What is said of it, each text once."""
        return tuple(dict.fromkeys(text for text in (self.alt, self.caption) if text))


@dataclass(frozen=True)
class Terms:
    """The language and the licence that a module states, or that a collection states of its modules."""

    lang: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Module:
    """A module: its texts and figures in reading order, its title first."""

    terms: Terms
    parts: tuple[str | Figure, ...]


def read_module(raw: bytes) -> Module:
    """The module that a file holds.

    Raises:
        BrokenModule: it is not well-formed, or it is not CNXML.
    """
    root = _root(raw, "document")
    title = _line(root.find("{*}title")) or _line(root.find("{*}metadata/{*}title"))
    parts = [title] if title else []
    return Module(_terms(root), (*parts, *_Reading().parts(root)))


def read_collection(raw: bytes) -> tuple[Terms, frozenset[str]]:
    """What a collection states of its modules, and their ids.

    Raises:
        BrokenModule: it is not well-formed, or no collection.
    """
    root = _root(raw, "collection")
    return _terms(root), frozenset(e.get("document", "") for e in root.iter("{*}module"))


def _root(raw: bytes, wanted: str) -> etree._Element:
    try:
        root = etree.fromstring(raw, xml_tree.parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise BrokenModule(f"not well-formed: {_squeezed(str(error)[:200])}") from None
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):
        raise BrokenModule("declares entities of its own")
    if _name(root) != wanted:
        raise BrokenModule(f"not a CNXML {wanted}, but <{_name(root)[:50]}>")
    return root


def _terms(root: etree._Element) -> Terms:
    metadata = root.find("{*}metadata")
    stated = {} if metadata is None else {_name(e): e for e in metadata.iterdescendants()}
    lang, licence = stated.get("language"), stated.get("license")
    own = root.get("{http://www.w3.org/XML/1998/namespace}lang")
    return Terms(
        tag(_line(lang)) or tag(own),
        None if licence is None else rights.licence(licence.get("url"), _line(licence)),
    )


class _Reading:
    """Walks through a module; what is read of a line is held until the line ends."""

    def __init__(self) -> None:
        self._held: list[str] = []

    def parts(self, root: etree._Element) -> Iterator[str | Figure]:
        for child in root:
            if _name(child) not in _PASSED:
                yield from self._element(child, None)
        yield from self._end()

    def _element(self, element: etree._Element, figure: etree._Element | None) -> Iterator[str | Figure]:
        name = _name(element)
        if name == "math":
            self._held.append(mathml.text(element))
        elif name in _INLINE:
            self._held.append(_JOINTS.get(name, ""))
            yield from self._inside(element, figure)
        elif name == "media":
            yield from self._end()
            yield from _picture(element, figure)
        elif name:
            yield from self._end()
            inner = element if name in _FIGURES else figure
            # A figure's title and caption are its picture's, unless it shows several or none.
            if inner is None or element is not inner or not _single(element):
                for child in element.iterchildren("{*}title", "{*}caption"):
                    yield from self._inside(child, None)
                    yield from self._end()
            yield from self._inside(element, inner)
            yield from self._end()

    def _inside(self, element: etree._Element, figure: etree._Element | None) -> Iterator[str | Figure]:
        self._held.append(element.text or "")
        for child in element:
            if _name(child) not in _PASSED:
                yield from self._element(child, figure)
            self._held.append(child.tail or "")

    def _end(self) -> Iterator[str]:
        line = _squeezed("".join(self._held))
        self._held.clear()
        if line:
            yield line


def _picture(media: etree._Element, figure: etree._Element | None) -> Iterator[Figure]:
    """The picture of a media element, the one for screens if there are several."""
    images = [e for e in media.iter("{*}image") if e.get("src")]
    image = next((e for e in images if e.get("for", "online") != "pdf"), images[0] if images else None)
    if image is None:
        return
    name = PurePosixPath(image.get("src", "").replace("\\", "/")).name
    caption = None
    if figure is not None and _single(figure):
        lines = (_line(figure.find("{*}title")), _line(figure.find("{*}caption")))
        caption = " ".join(line for line in lines if line) or None
    yield Figure(name, _squeezed(media.get("alt") or "") or None, caption)


def _single(figure: etree._Element) -> bool:
    """Whether a figure shows one picture, so that what it says is said of that."""
    return sum(media.find("{*}image") is not None for media in figure.iter("{*}media")) == 1


def _line(element: etree._Element | None) -> str | None:
    """All text of an element on one line; None for nothing."""
    if element is None:
        return None
    reading = _Reading()
    parts = [*reading._inside(element, None), *reading._end()]
    return " ".join(part for part in parts if isinstance(part, str)) or None


def _squeezed(text: str) -> str:
    """One line; parentheses that held only a reference are gone with it."""
    return re.sub(r" ?\(\s*\)", "", " ".join(text.replace("\0", "").split()))


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""
