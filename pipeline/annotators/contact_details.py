"""E-mail addresses and telephone numbers in a row's text or prompt: counted, never copied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.step import Annotator

SUSPECT = r"(?i)[@＠]|\bat\b.*\bdot\b|[(\[{]\s*at\s*[)\]}]|[\p{Nd}](?:[^\p{L}\p{Nd}]{0,3}\p{Nd}){5}"
"""Only texts with an at sign or six digits in near succession are looked at closely."""

_EMAIL = re.compile(
    # name@mail.example.com, with full-width signs too
    r"(?<![\w.+-])[\w.!#$%&'*+/=?^`{|}~-]{1,64}\s?[@＠]\s?"
    r"(?:\w(?:[\w-]{0,61}\w)?\s?[.。．]\s?){1,8}[^\W\d_]{2,24}(?!\w)"
    # name (at) example (dot) com
    r"|(?<![\w.+-])[\w.+-]{1,64}\s*[(\[{]\s*at\s*[)\]}]\s*[\w-]+(?:\s*(?:[(\[{]\s*dot\s*[)\]}]|\.)\s*[\w-]+)+"
    # name at example dot com
    r"|(?<![\w.+-])[\w.+-]{2,64}\s+at\s+[\w-]{2,}\s+dot\s+"
    r"(?:com|org|net|edu|gov|info|io|de|fr|uk|cn|es|it|eu|ch|nl|pl)\b",
    re.IGNORECASE,
)
_CUE = (
    r"(?<!\w)(?:(?:tele|t[ée]l[ée])(?:ph|f)[oó]\w{1,6}|tel|t[ée]l|phones?|ph(?=[.:])|call(?: us)?"
    r"|mobile|mobil|cell|fax|whatsapp|sms|hotline|appelez|handy|anruf\w*|rufen sie"
    r"|ll[áa]m\w{1,5}|телефон\w{0,3}|тел)(?!\w)"
    r"|电话|電話|手机|手機|热线|致电|拨打"
)
_DIGITS = r"\+?\(?\d(?:[\s().\-/–]{0,3}\d){5,14}"
_CUED = re.compile(rf"(?:{_CUE})[^\d+\n]{{0,24}}?({_DIGITS})", re.IGNORECASE)
_INTERNATIONAL = re.compile(r"(?<![\w.+])(?:\+|00)[\s(]{0,2}[1-9](?:[\s().\-/–]{0,3}\d){6,13}(?!\d)")
_NATIONAL = re.compile(
    r"(?<![\w.,+/-])(?:"
    r"\(\d{2,5}\)[\s-]?\d{3,4}[\s.-]?\d{3,5}"  # (030) 1234 5678
    r"|(?:1[-. ])?[2-9]\d{2}([-. ])\d{3}\1\d{4}"  # 415-555-0132
    r"|0\d(?:([ .-])\d{2}\2\d{2}\2\d{2}\2\d{2})"  # 01 23 45 67 89
    r"|0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,5}"  # 030/1234567, 0171 2345678
    r"|1[3-9]\d{9}|1[3-9]\d[ -]\d{4}[ -]\d{4}"  # 138 1234 5678
    r"|0\d{9,10}"
    r"|555[-. ]\d{4}"
    r")(?![\w-]|[.,/]\d)"
)
_NOT_A_NUMBER = re.compile(
    r"^(?:1[4-9]|20)\d\d\s?[-–/.]\s?(?:(?:1[4-9]|20)\d\d|\d{1,2}\s?[-–/.]\s?\d{1,2})$"  # years, dates
    r"|^\d{1,2}[-/.]\d{1,2}[-/.](?:\d{2}){1,2}$"
    r"|^97[89][- ]"  # ISBN
    r"|^(\d)\1+$"
    r"|^[+(]*\d+\.\d{5,}"  # decimals
)


class ContactDetails(Annotator):
    """Counts the e-mail addresses and telephone numbers of a row's text and prompt."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("prompt", "text")
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("emails", pa.int32(), metadata={"doc": "E-mail addresses, plainly written or as (at)."}),
            pa.field("telephones", pa.int32(), metadata={"doc": "Telephone numbers."}),
        ]
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        prompt, text = (pc.fill_null(rows[name].cast(pa.string()), "") for name in ("prompt", "text"))
        both = pc.binary_join_element_wise(prompt, text, "\n")
        suspects = pc.indices_nonzero(pc.match_substring_regex(both, SUSPECT)).to_numpy()
        emails, telephones = ([0] * rows.num_rows for _ in range(2))
        for at, value in zip(suspects.tolist(), both.take(pa.array(suspects)).to_pylist(), strict=True):
            emails[at], telephones[at] = count_emails(value), count_telephones(value)
        return pa.table(
            [rows["sample_id"], pa.array(emails, pa.int32()), pa.array(telephones, pa.int32())],
            names=["sample_id", *self.columns.names],
        )


def count_emails(text: str) -> int:
    """E-mail addresses in a text."""
    return sum(1 for _ in _EMAIL.finditer(text))


def count_telephones(text: str) -> int:
    """Telephone numbers in a text; dates, years, ISBNs and other long numbers do not count."""
    rest = _EMAIL.sub(" ", text)
    found: set[tuple[int, int]] = set()
    for pattern, group in ((_INTERNATIONAL, 0), (_CUED, 1), (_NATIONAL, 0)):
        for match in pattern.finditer(rest):
            start, stop = match.span(group)
            if _NOT_A_NUMBER.match(match.group(group)):
                continue
            if not any(start < b and a < stop for a, b in found):
                found.add((start, stop))
    return len(found)
