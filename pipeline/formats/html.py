"""A page's bytes as one document of text and pictures in reading order, and its pictures with what is said of them.

What stands around a page's content is left out, and what is left out is guarded: an element that holds a large
share of the page's text stays, whatever its class is called, and a page that would lose nearly all is read again
with the plain rules only. Rubbish gives an empty page, never an exception; `cut` says which limit was met.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice

from lxml import etree

from pipeline.formats import boilerplate
from pipeline.formats.boilerplate import Block
from pipeline.formats.charset import decode
from pipeline.formats.head import Head, base_of, read_head
from pipeline.formats.pictures import Picture, Pictures
from pipeline.formats.reading import Reader, Weights

MAX_BYTES = 8 << 20
"""What a page has beyond is not read."""
MAX_TAGS = 300_000
MAX_PICTURES = 2000
SEGMENT = 16_000
"""Characters of one text segment, about: a longer text is split between paragraphs."""
MOST_ATTRIBUTES = 1000
"""Of one tag; one with more is left out. The parser compares each attribute of a tag with all others: 100,000 take it
14 seconds."""
LEAST = 200
"""A page of so many characters should not come out nearly empty."""
_ATTRIBUTE = (
    r"""(?:[\s/]++|(?:=[^\s/>=]*+|[^\s/>=]++)(?:\s*+=\s*+(?:"[^"]*+"?|'[^']*+'?|[^\s>"'][^\s>]*+)?+)?+)"""
)
"""An attribute, or the space between two, as the standard's tokenizer takes them."""
_ATTRIBUTES = re.compile(_ATTRIBUTE)
_TAG = re.compile(
    r"<!--(?:-?>|[\s\S]*?(?:--!?>|\Z))"
    rf"|<(?P<raw>script|style|textarea|title|xmp|iframe|noembed|noframes)(?=[\s/>])(?P<of_raw>{_ATTRIBUTE}*+)>?"
    r"[\s\S]*?(?:</(?P=raw)(?=[\s/>])|\Z)"
    rf"|</?[a-z][^\s/>]*+(?P<of_tag>{_ATTRIBUTE}*+)>?",
    re.IGNORECASE,
)
"""A comment, an element whose content is no markup, a tag."""
_WBR = re.compile(r"</?wbr\b[^<>]{0,100}>", re.IGNORECASE)
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Segment:
    """A piece of a document: a text, or a picture."""

    text: str | None = None
    picture: Picture | None = None


@dataclass(frozen=True)
class Page:
    """What was read of a page."""

    url: str
    head: Head = field(default_factory=Head)
    pictures: tuple[Picture, ...] = ()
    """All that are shown, in order, those outside the content too."""
    segments: tuple[Segment, ...] = ()
    cut: str | None = None
    """Which limit cut the page off, or why nothing could be read."""

    @property
    def text(self) -> str:
        """The document's text, without its pictures."""
        return "\n\n".join(segment.text for segment in self.segments if segment.text)


def read_page(raw: bytes, url: str, charset: str | None = None) -> Page:
    """Reads a page; `url` is what its relative links are relative to, `charset` what the HTTP header said."""
    cut = "too many bytes" if len(raw) > MAX_BYTES else None
    root, wrong = _parse(decode(raw[:MAX_BYTES], charset))
    if root is None:
        return Page(url, cut=wrong or cut)
    base = base_of(root, url)
    pictures = Pictures(root, base, MAX_PICTURES)
    weights = Weights(root)
    blocks = boilerplate.cleaned(Reader(weights, pictures, strict=True).blocks(weights.content(root)))
    if weights.total >= LEAST and _characters(blocks) < weights.total * 0.05:
        blocks = Reader(weights, pictures, strict=False).blocks(weights.body(root))
    cut = wrong or cut or ("too many pictures" if pictures.cut else None)
    return Page(url, read_head(root, base), pictures.all, tuple(_segments(blocks)), cut)


def _characters(blocks: list[Block]) -> int:
    return sum(len(block.text) for block in blocks)


def _parse(text: str) -> tuple[etree._Element | None, str | None]:
    """The tree, and which of the parser's limits was met."""
    cut = None
    if text.count("<") > MAX_TAGS:
        text, cut = text[: next(islice(re.finditer("<", text), MAX_TAGS, None)).start()], "too many tags"
    text = _CONTROLS.sub("", _TAG.sub(_bearable, _WBR.sub("", text)))
    parser = etree.HTMLParser(
        encoding="utf-8", recover=True, no_network=True, remove_comments=True, remove_pis=True, huge_tree=True
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except (etree.LxmlError, ValueError):
        return None, "not HTML"
    if root is None:
        return None, "empty"
    deep = any("depth" in entry.message.lower() for entry in parser.error_log)
    return root, "nested too deeply" if deep else cut


def _bearable(tag: re.Match[str]) -> str:
    """The tag, or nothing in place of one with thousands of attributes."""
    attributes = tag["of_tag"] or tag["of_raw"] or ""
    if len(attributes) <= 2 * MOST_ATTRIBUTES:
        return tag[0]
    count = sum(1 for _ in _ATTRIBUTES.finditer(attributes))
    return tag[0] if count <= 2 * MOST_ATTRIBUTES else ""  # each with the space before it


def _segments(blocks: list[Block]) -> list[Segment]:
    """Blocks joined to segments: texts between pictures, and each picture."""
    found: list[Segment] = []
    held: list[str] = []
    size = 0

    def flush() -> None:
        nonlocal size
        if held:
            found.append(Segment(text="".join(held).strip()))
        held.clear()
        size = 0

    for block in blocks:
        if block.picture is not None:
            flush()
            found.append(Segment(picture=block.picture))
            continue
        for piece in _pieces(block.text):
            if size + len(piece) > SEGMENT:
                flush()
            held.append(("\n" if block.tight else "\n\n") if held else "")
            held.append(piece)
            size += len(piece)
    flush()
    return found


def _pieces(text: str) -> list[str]:
    """A paragraph, split at white space if it is longer than a segment."""
    pieces = []
    while len(text) > SEGMENT:
        at = max(text.rfind(" ", SEGMENT // 2, SEGMENT), text.rfind("\n", SEGMENT // 2, SEGMENT))
        at = at if at > 0 else SEGMENT
        pieces.append(text[:at])
        text = text[at:].lstrip()
    return [*pieces, text] if text else pieces
