"""The text of a page's bytes: which encoding they have, by the marks that pages and servers set.

In this order: a byte order mark; valid UTF-8 (no other encoding looks like it by chance, and servers often name a
wrong one); what the HTTP header says; what a `<meta>` says; windows-1252, as browsers do.
"""

from __future__ import annotations

import codecs
import re

MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_ENCODINGS = (
    "utf-8 utf-16 utf-16-le utf-16-be cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 "
    "cp1258 cp866 cp874 iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8 "
    "iso8859-10 iso8859-13 iso8859-14 iso8859-15 iso8859-16 koi8-r koi8-u mac-roman mac-cyrillic "
    "gb18030 big5hkscs euc_jp cp932 iso2022_jp cp949"
)
ENCODINGS = frozenset(_ENCODINGS.split())
"""What pages on the web are read as; Python knows others that are slow or not encodings of text at all."""
SAME_AS = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949",
    "utf-8-sig": "utf-8",
}  # fmt: skip
"""Names that browsers take for the larger encoding that contains them."""
SEVEN_BIT = frozenset({"iso2022_jp"})
"""Encodings whose bytes are all valid UTF-8."""
HEAD_BYTES = 4096
_META = re.compile(rb"<meta[^>]{0,400}?charset\s{0,20}=\s{0,20}[\"']?\s{0,20}([\w.:-]{1,40})", re.IGNORECASE)
_XML = re.compile(rb"<\?xml[^>]{0,200}?encoding\s{0,20}=\s{0,20}[\"']([\w.:-]{1,40})", re.IGNORECASE)


def decode(raw: bytes, header: str | None = None) -> str:
    """The text; bytes that mean nothing become U+FFFD."""
    for mark, encoding in MARKS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(encoding, "replace")
    named = known(header) or stated(raw[:HEAD_BYTES])
    if named not in SEVEN_BIT and (named is None or not named.startswith("utf-16")):
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if (
                error.reason == "unexpected end of data" and not raw[: error.start].isascii()
            ):  # cut in a character
                return raw.decode("utf-8", "replace")
    return raw.decode(named or "cp1252", "replace")


def known(name: str | None) -> str | None:
    """Python's name of an encoding of the web, or None."""
    try:
        found = codecs.lookup((name or "").strip("\"' \t")).name
    except (LookupError, ValueError):
        return None
    found = SAME_AS.get(found, found)
    return found if found in ENCODINGS else None


def stated(head: bytes) -> str | None:
    """The encoding that a page says it has; one that says UTF-16 in ASCII does not."""
    match = _META.search(head) or _XML.search(head)
    named = known(match[1].decode("ascii", "replace")) if match else None
    return "utf-8" if named and named.startswith("utf-16") else named
