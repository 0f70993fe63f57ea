"""Elements of a page that a reader never sees."""

from __future__ import annotations

import re

from lxml import etree

_UNREAD = (
    "script style template iframe frame frameset object embed applet svg canvas audio video map "
    "select button input textarea datalist option optgroup head link meta title base track param"
)
UNREAD = frozenset(_UNREAD.split())
"""What is no text, or no part of one."""
UNSHOWN = frozenset({"script", "style", "template", "svg", "iframe", "noembed", "textarea"})
"""What shows no picture of the page."""
PAGE = frozenset({"html", "body", "main"})
"""Never hidden: a script will show it."""
_STYLE = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_HIDDEN_WORDS = "visually-hidden visuallyhidden sr-only screen-reader-text screen-reader-only skip-link"
_HIDDEN_CLASSES = frozenset(_HIDDEN_WORDS.split())


def is_unread(element: etree._Element) -> bool:
    """Whether the element holds no text of the page."""
    return not isinstance(element.tag, str) or element.tag in UNREAD


def is_hidden(element: etree._Element) -> bool:
    """Whether the page says that the element is not shown."""
    if element.tag in PAGE:
        return False
    if element.get("hidden") is not None or (element.get("aria-hidden") or "").lower() == "true":
        return True
    style = element.get("style")
    if style and _STYLE.search(style[:2000]):
        return True
    classes = element.get("class")
    return bool(classes) and not _HIDDEN_CLASSES.isdisjoint(classes.lower().split()[:50])
