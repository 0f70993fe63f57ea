"""E-mail addresses and telephone numbers in a row's text or prompt: counted, never copied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.legible import legible
from pipeline.step import Annotator
from pipeline.telephones import telephones

SUSPECT = (
    r"(?i)[@＠]|\bat\b.*\bdot\b|_at_|[(\[{<]\s*(?:at|ät|aet|a|arroba|chiocciola)\s*[)\]}>]|&#x?0*[46]|&commat"
    r"|[\p{Nd}](?:[^\p{L}\p{Nd}]{0,3}\p{Nd}){5}"
)
"""Only texts with an at sign, however disguised, or six digits in near succession are looked at closely."""

_FILES = r"(?:png|jpe?g|gif|webp|svg|bmp|tiff?|ico|avif|heic|pdf|html?|css|js|ts|jsx|py|json|xml|zip|gz|mp[34]|webm|txt|md)"
"""Endings of files: icon@2x.png is no address."""
_TLD = rf"(?!{_FILES}(?!\w))(?:[^\W\d_]{{2,24}}|xn--[a-z0-9-]{{2,59}})(?![\w-])"
_LABEL = r"\w(?:[\w-]{0,61}\w)?"
_SPELT = (
    r"(?:[a-z]{2}|com|org|net|edu|gov|mil|int|info|biz|name|pro|museum|travel|jobs|mobi|cat|asia|app|dev|blog|shop|store"
    r"|online|site|xyz|tech|club|photography|photos?|pictures|gallery|art|cloud|studio|design|email|world|life|live|news"
    r"|media|agency|example)(?![\w-])"
)
"""Top-level domains that may follow the word dot."""
_OPEN, _CLOSE = r"\s*[(\[{<]\s*", r"\s*[)\]}>]\s*"
_AT = rf"{_OPEN}(?:at|ät|aet|a|@|arroba|chiocciola|małpa|snabel-?a|apenstaartje){_CLOSE}"
_DOT = rf"{_OPEN}(?:dot|punkt|punto|point|ponto|kropka|\.){_CLOSE}"

_EMAIL = re.compile(
    # name@mail.example.com, "odd name"@example.com, name @ example.com
    r"(?:(?<![\w.+-])[\w.!#$%&'*+/=?^`{|}~-]{1,64}|\"[^\"\n@]{1,62}\")(?:@| @ )"
    rf"(?:{_LABEL}(?:\.| \. )){{1,8}}{_TLD}"
    # name (at) example (dot) com, name [at] example.com
    rf"|(?<![\w.+-])[\w.+-]{{1,64}}{_AT}{_LABEL}(?:(?:{_DOT}|\.){_LABEL})*(?:{_DOT}|\.){_TLD}"
    # name_at_example_dot_com
    r"|(?<![\w.+-])[\w.+-]{1,64}?_at_[a-z0-9-]+(?:_dot_[a-z0-9-]+)+"
    # name at example dot com
    r"|(?<![\w.+-])[\w.+-]{2,64} +at +(?!(?:the|an?|this|that|his|her|its|our|your|my|each|every|one|polka)\b)"
    rf"[\w-]{{2,}}(?: +dot +[\w-]{{2,}})* +dot +{_SPELT}",
    re.IGNORECASE,
)


class ContactDetails(Annotator):
    """Counts the e-mail addresses and telephone numbers of a row's text and prompt."""

    version: ClassVar[int] = 2
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
    return sum(1 for _ in _EMAIL.finditer(legible(text)))


def count_telephones(text: str) -> int:
    """Telephone numbers in a text, e-mail addresses apart."""
    return sum(1 for _ in telephones(_EMAIL.sub(" ", legible(text))))
