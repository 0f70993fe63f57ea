"""HTML from elsewhere as plain text, and the languages that its parts are marked with."""

from __future__ import annotations

import re

from lxml import etree

MOST = 1 << 18
"""What is longer is taken as it is, with its markup: it is over the limit of texts anyway, in characters."""
_BLOCKS = frozenset(
    re.findall(
        "[a-z0-9]+",
        "address article blockquote br dd div dl dt h1 h2 h3 h4 h5 h6 hr li ol p pre table td th tr ul",
    )
)
_SILENT = frozenset(("script", "style", "template", "head"))
_BAD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")

Piece = tuple[str | None, str]


def plain(html: str) -> str:
    """The text without its markup, in lines without white space at their ends."""
    return _tidy("".join(text for _, text in _pieces(html)))


def by_language(html: str) -> list[Piece]:
    """The texts that are marked with languages; the whole, without one, if none is."""
    pieces = _pieces(html)
    marked: dict[str, list[str]] = {}
    for lang, text in pieces:
        if lang:
            marked.setdefault(lang, []).append(text)
    told = [(lang, _tidy("".join(texts))) for lang, texts in marked.items()]
    if any(text for _, text in told):
        return [(lang, text) for lang, text in told if text]
    whole = _tidy("".join(text for _, text in pieces))
    return [(None, whole)] if whole else []


def _pieces(html: str) -> list[Piece]:
    """The text in pieces, each with the outermost language about it: a quotation inside is no translation."""
    if ("<" not in html and "&" not in html) or len(html) > MOST:
        return [(None, html)]
    parser = etree.HTMLParser(no_network=True, remove_comments=True, remove_pis=True, huge_tree=False)
    try:
        root = etree.fromstring(f"<body>{_BAD.sub('', html)}</body>", parser)
    except (etree.XMLSyntaxError, ValueError):
        return [(None, html)]
    pieces: list[Piece] = []
    langs: list[str | None] = [None]
    silent = 0
    for event, element in etree.iterwalk(root, events=("start", "end")) if root is not None else ():
        name = element.tag if isinstance(element.tag, str) else ""
        mute = name in _SILENT or _unseen(name, element)
        if event == "start":
            langs.append(langs[-1] or element.get("lang") or None)
            silent += mute
        else:
            langs.pop()
            silent -= mute
        edge = "\n" if name in _BLOCKS else ""
        text = (element.text if event == "start" else element.tail) or ""
        at = langs[-1]
        pieces.append((at, (edge + text) if not silent else ""))
    return pieces


def _unseen(name: str, element: etree._Element) -> bool:
    """Whether no reader sees it, or it is the "English:" before a text that is marked as English."""
    if "display:none" in "".join((element.get("style") or "").lower().split()):
        return True
    return name == "span" and "language" in (element.get("class") or "").split()


def _tidy(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)
