"""Numbers that lead to a person: bank accounts (IBAN), payment cards, IP addresses. Counted, never copied.

Each is held against its own rule, so that a number that only looks like one does not count: ISO 13616 lengths and
ISO 7064 check digits of an IBAN, ISO/IEC 7812 prefixes, lengths and Luhn digit of a card, RFC 4291 and RFC 791 addresses.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.legible import legible
from pipeline.step import Annotator

SUSPECT = r"(?i)[\p{Nd}](?:[^\p{L}\p{Nd}]{0,3}\p{Nd}){11}|[A-Z]{2}\p{Nd}{2}|\p{Nd}[.．]\p{Nd}{1,3}[.．]|:[0-9a-f]{0,4}:"
"""Only texts with twelve digits in near succession, the beginning of an IBAN, dots between digits or colons with hex
digits between them are looked at closely."""

IBAN_LENGTH = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip
"""Characters of an IBAN by country (the registry of ISO 13616)."""
CARDS = (
    (r"4", {13, 16, 19}),
    (r"5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)", {16}),
    (r"3[47]|2131|1800", {15}),
    (r"6011|64[4-9]|65|62", {16, 17, 18, 19}),
    (r"220[0-4]", {16, 17, 18, 19}),
    (r"35(?:2[89]|[3-8])", {16, 17, 18, 19}),
    (r"30[0-5]|3[689]", {14, 16}),
    (r"50(?:18|20|38)|5893|6304|6759|676[1-3]", {12, 13, 14, 15, 16, 17, 18, 19}),
)
"""Prefixes of the networks, and the lengths of their numbers."""

_IBAN = re.compile(r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]){11,30}", re.IGNORECASE)
_CARD = re.compile(r"(?<![\w.,])(?<!\d[ -])\d(?:[ -]?\d){11,18}(?!\w|[ -]\d|[.,]\d)")
_CARD_PREFIX = tuple((re.compile(prefix), lengths) for prefix, lengths in CARDS)
_IPV4 = re.compile(r"(?<![\w.\-])(\d{1,3}(?:\.\d{1,3}){3})(?![\w\-]|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}(?:[0-9a-f]{1,4}|\d{1,3}(?:\.\d{1,3}){3})?(?![\w:])", re.IGNORECASE
)
_TIMES = re.compile(r"\d{0,2}(?::\d{0,2})+")
_VERSION = re.compile(
    r"(?:\bv|\brv|\bver|\bversi[oó]n\w{0,2}|\bversions?|\bwersj\w|\bversão|\brelease|\brev|\bbuild|\bfirmware|\bsections?|\bchapter"
    r"|\bAbschnitt|\bKapitel|\bchapitre|\bsecci[oó]n|\bcap[ií]tulo|\bsezione|\bcapitolo|\bparagraaf|\bhoofdstuk|\brozdział"
    r"|\bверси\w|\bраздел|版本|第|章|节|§)[.:]? *$",
    re.IGNORECASE,
)
"""What stands before four numbers with dots that are no address."""


class PersonalNumbers(Annotator):
    """Counts the IBANs, payment cards and IP addresses of a row's text and prompt."""

    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("prompt", "text")
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("ibans", pa.int32(), metadata={"doc": "IBANs with the right length and check digits."}),
            pa.field(
                "cards", pa.int32(), metadata={"doc": "Payment card numbers with the right check digit."}
            ),
            pa.field(
                "ip_addresses",
                pa.int32(),
                metadata={"doc": "IP addresses; loopback, unspecified ones and masks apart."},
            ),
        ]
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        prompt, text = (pc.fill_null(rows[name].cast(pa.string()), "") for name in ("prompt", "text"))
        both = pc.binary_join_element_wise(prompt, text, "\n")
        suspects = pc.indices_nonzero(pc.match_substring_regex(both, SUSPECT)).to_numpy()
        counts = {name: [0] * rows.num_rows for name in self.columns.names}
        for at, value in zip(suspects.tolist(), both.take(pa.array(suspects)).to_pylist(), strict=True):
            for name, count in count_all(value).items():
                counts[name][at] = count
        return pa.table(
            {"sample_id": rows["sample_id"]} | {n: pa.array(c, pa.int32()) for n, c in counts.items()}
        )


def count_all(text: str) -> dict[str, int]:
    """How many there are of each kind; digits of an IBAN are not read as a card's."""
    text = legible(text)
    accounts = list(ibans(text))
    for start, stop in reversed(accounts):
        text = text[:start] + "\n" + text[stop:]
    return {
        "ibans": len(accounts),
        "cards": sum(1 for _ in cards(text)),
        "ip_addresses": sum(1 for _ in ip_addresses(text)),
    }


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """Where IBANs stand; what follows one without a break is cut at its country's length."""
    for match in _IBAN.finditer(text):
        wanted = IBAN_LENGTH.get(match[0][:2].upper())
        letters = [at for at, one in enumerate(match[0]) if one.isalnum()]
        if wanted is None or len(letters) < wanted:
            continue
        stop = letters[wanted - 1] + 1
        rest = text[match.start() + stop : match.start() + stop + 1]
        if not rest.isalnum() and _mod_97("".join(match[0][at] for at in letters[:wanted])) == 1:
            yield match.start(), match.start() + stop


def cards(text: str) -> Iterator[str]:
    """Digits of payment cards."""
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        known = any(prefix.match(digits) and len(digits) in lengths for prefix, lengths in _CARD_PREFIX)
        barcode = match[0].isdigit() and len(digits) == 13 and _gtin(digits)
        if known and not barcode and len(set(digits)) > 1 and _luhn(digits):
            yield digits


def ip_addresses(text: str) -> Iterator[str]:
    """IP addresses, versions of software and sections of documents apart."""
    for match in _IPV4.finditer(text):
        if not _VERSION.search(text, max(0, match.start() - 16), match.start()) and _address(match[1]):
            yield match[1]
    for match in _IPV6.finditer(text):
        if sum(map(str.isalnum, match[0])) >= 4 and _address(match[0]):
            yield match[0]


def _address(text: str) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address) and found.packed[0] in (
        0,
        255,
    ):  # "this network" (RFC 1122), a mask
        return False
    return not (found.is_loopback or found.is_unspecified or _TIMES.fullmatch(text))


def _mod_97(iban: str) -> int:
    return int("".join(str(int(one, 36)) for one in iban[4:] + iban[:4])) % 97


def _luhn(digits: str) -> bool:
    doubled = [int(one) * (2 if place % 2 else 1) for place, one in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _gtin(digits: str) -> bool:
    """Whether thirteen digits are a barcode's, by its check digit (GS1)."""
    return sum(int(one) * (3 if place % 2 else 1) for place, one in enumerate(digits)) % 10 == 0
