"""Walks a page in reading order and writes down its blocks: paragraphs, headings, list items, pictures."""

from __future__ import annotations

import re

from lxml import etree

from pipeline.formats.boilerplate import Block, is_aside, is_furniture
from pipeline.formats.hidden import is_hidden, is_unread
from pipeline.formats.pictures import Pictures

_BLOCKS = (
    "address article aside blockquote body center dd details div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hr html legend li main nav noscript ol p pre section "
    "summary table tbody td tfoot th thead tr ul"
)
BLOCKS = frozenset(_BLOCKS.split())
CONTENT_IDS = frozenset({"content", "main-content", "maincontent", "bodycontent", "mw-content-text", "main"})
MOST_TEXT = 4_000_000
"""Characters of a document; what comes after is left out."""
_SPACES = re.compile(r"[^\S\n]*\n[^\S\n]*|[^\S\n]+")
_PLAIN = re.compile(r"\s+")


class Weights:
    """How much text is in each element of a page, so that nothing heavy is thrown away by its name."""

    def __init__(self, root: etree._Element) -> None:
        self._root, self._of = root, dict[etree._Element, int]()
        self._titled = set[etree._Element]()
        sums = [0]
        walk = etree.iterwalk(root, events=("start", "end"))
        for event, element in walk:
            unread = is_unread(element)
            if event == "start":
                sums.append(0 if unread else _length(element.text))
                if unread:
                    walk.skip_subtree()
                continue
            own = sums.pop()
            self._of[element] = own
            sums[-1] += own + _length(element.tail)
            if element.tag == "h1" and len(self._titled) < 10_000:
                self._titled.update(element.iterancestors())
        self.total = sums[0]

    def share(self, element: etree._Element) -> float:
        """The part of the page's text that the element holds."""
        return self._of.get(element, 0) / self.total if self.total else 0.0

    def titled(self, element: etree._Element) -> bool:
        """Whether the page's main heading is in it."""
        return element in self._titled

    def body(self, root: etree._Element) -> etree._Element:
        body = root.find("body")
        return root if body is None else body

    def content(self, root: etree._Element) -> etree._Element:
        """The element that holds the content: the page's `<main>`, its only article, or its body."""
        body = self.body(root)
        mains = [one for one in root.iter("main", "div", "section") if _is_main(one)]
        articles = list(root.iter("article"))
        for found, least in ((mains, 0.3), (articles if len(articles) == 1 else [], 0.5)):
            best = max(found, key=self.share, default=None)
            if best is not None and self.share(best) >= least:
                return best
        return body


def _is_main(element: etree._Element) -> bool:
    return (
        element.tag == "main"
        or element.get("role") == "main"
        or (element.get("id") or "").lower() in CONTENT_IDS
    )


def _length(text: str | None) -> int:
    return len(text.strip()) if text else 0


class Reader:
    """Turns elements into blocks. `strict` leaves out what stands around the content."""

    def __init__(self, weights: Weights, pictures: Pictures, strict: bool) -> None:
        self._weights, self._pictures, self._strict = weights, pictures, strict
        self._blocks: list[Block] = []
        self._held: list[str] = []
        self._size = self._linked = self._links = self._kept_spaces = self._read = 0
        self._kind = "p"

    def blocks(self, root: etree._Element) -> list[Block]:
        """The blocks below an element, in reading order."""
        walk = etree.iterwalk(root, events=("start", "end"))
        left: etree._Element | None = None
        for event, element in walk:
            if event == "start":
                if element is not root and self._is_left_out(element):
                    left = element
                    walk.skip_subtree()
                else:
                    self._start(element)
            else:
                if left is not None and element is left:
                    left = None
                    if element.tag in BLOCKS:
                        self._flush()
                else:
                    self._end(element)
                if element is not root:
                    self._add(element.tail)
            if self._read > MOST_TEXT:
                break
        self._flush()
        return self._blocks

    def _is_left_out(self, element: etree._Element) -> bool:
        if is_unread(element) or is_hidden(element):
            return True
        if not self._strict:
            return False
        return is_furniture(element) or (
            is_aside(element) and self._weights.share(element) < 0.4 and not self._weights.titled(element)
        )

    def _start(self, element: etree._Element) -> None:
        tag = element.tag
        if tag in BLOCKS:
            self._flush()
            self._kind = tag
        elif tag == "a":
            self._links += 1
        elif tag == "br":
            self._held.append("\n")
        elif tag in ("img", "amp-img"):
            self._picture(element)
        self._kept_spaces += tag == "pre"
        if tag != "noscript":
            self._add(element.text)

    def _end(self, element: etree._Element) -> None:
        if element.tag in BLOCKS:
            self._flush()
        elif element.tag == "a":
            self._links -= 1
        self._kept_spaces -= element.tag == "pre"

    def _picture(self, element: etree._Element) -> None:
        picture = self._pictures.get(element)
        if picture is None:
            return
        classes = (element.get("class") or "").lower()
        if picture.alt and len(picture.alt) <= 8 and ("emoji" in classes or "smiley" in classes):
            self._add(picture.alt)  # a character that the page draws
            return
        kind = self._kind
        self._flush()
        self._kind = kind
        if not self._blocks or self._blocks[-1].picture != picture:
            self._blocks.append(Block(picture=picture))

    def _add(self, text: str | None) -> None:
        if not text:
            return
        if not self._kept_spaces:
            text = _PLAIN.sub(" ", text)
        length = _length(text)
        self._held.append(text)
        self._size += length
        self._read += length
        self._linked += length if self._links > 0 else 0

    def _flush(self) -> None:
        text = "".join(self._held)
        text = text.strip("\n") if self._kept_spaces else _SPACES.sub(_space, text).strip()
        if text.strip():
            share = self._linked / self._size if self._size else 0.0
            self._blocks.append(Block(text, share, self._kind))
        self._held.clear()
        self._size = self._linked = 0
        self._kind = "p"


def _space(run: re.Match[str]) -> str:
    return "\n" if "\n" in run[0] else " "
