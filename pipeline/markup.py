"""HTML that was left in a text: tags and entities are taken out where they are markup, and nowhere else."""

from __future__ import annotations

import html
import re
from html.entities import html5

VOID = "br|hr|img|wbr|input|link|meta|col|area|source|embed|param"
BLOCKS = (
    "p|li|div|ul|ol|dl|dt|dd|table|tr|td|th|thead|tbody|section|article|aside|header|footer|nav|main|figure|figcaption"
    "|blockquote|pre|h[1-6]|form|fieldset|address|center|hr|br|option|select"
)
INLINE = (
    "a|abbr|b|big|bdi|bdo|button|cite|code|del|em|font|i|iframe|ins|kbd|label|mark|q|s|samp|small|span|strike|strong"
    "|sub|sup|time|tt|u|var|video|audio|picture|object|svg|noscript|html|body|head|title"
)
_SILENT = (
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<script\b[^<>]{0,500}>", re.I), re.compile(r"</script\s*>", re.I)),
    (re.compile(r"<style\b[^<>]{0,500}>", re.I), re.compile(r"</style\s*>", re.I)),
)
"""Begin and end of what is not shown."""
_DECLARED = re.compile(r"<!doctype[^<>]{0,200}>|<!\[CDATA\[|\]\]>", re.I)
_ATTRIBUTE = (
    r"""\s+[a-zA-Z_:@][-\w:.]{0,40}(?:\s*=\s*(?:"[^"<>]{0,2000}"|'[^'<>]{0,2000}'|[^\s"'<>=`]{1,2000}))?"""
)
_TAG = re.compile(
    rf"<(?P<close>/?)(?P<name>{VOID}|{BLOCKS}|{INLINE})(?P<rest>(?:{_ATTRIBUTE}){{0,40}})\s*/?>", re.I
)
_BLOCK = re.compile(rf"{BLOCKS}|img", re.I)
_ALONE = re.compile(rf"{VOID}|p|li", re.I)
"""Elements that need no end."""
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


def unescaped(text: str, rounds: int) -> str:
    """Character references decoded, those of HTML 5 that end in a semicolon, so many times over: "&amp;amp;" takes two."""
    for _ in range(rounds):
        before, text = text, _ENTITY.sub(_character, text)
        if text == before:
            break
    return text


def _character(found: re.Match[str]) -> str:
    whole = found[0]
    return html.unescape(whole) if whole[1] == "#" or whole[1:] in html5 else whole


def stripped(text: str) -> str:
    """A text without its tags. A tag is markup if it is of an element of HTML and closes, is closed, has attributes,
    or needs no end; "a <b", "List<T>" and "the <b> tag" are none."""
    if "<" not in text:
        return text
    for begin, end in _SILENT:
        text = _without(text, begin, end)
    text = _DECLARED.sub(" ", text)
    closed = {found["name"].lower() for found in _TAG.finditer(text) if found["close"]}
    opened = {found["name"].lower() for found in _TAG.finditer(text) if not found["close"]}

    def replaced(found: re.Match[str]) -> str:
        name = found["name"].lower()
        if found["close"]:
            markup = name in opened or _ALONE.fullmatch(name) is not None
        else:
            markup = name in closed or bool(found["rest"].strip()) or _ALONE.fullmatch(name) is not None
        return (" " if _BLOCK.fullmatch(name) else "") if markup else found[0]

    return _TAG.sub(replaced, text)


def _without(text: str, begin: re.Pattern[str], end: re.Pattern[str]) -> str:
    """A text without what lies between two marks; a beginning without an end stays."""
    kept, at = [], 0
    while (first := begin.search(text, at)) and (last := end.search(text, first.end())):
        kept.append(text[at : first.start()])
        at = last.end()
    return " ".join([*kept, text[at:]])
