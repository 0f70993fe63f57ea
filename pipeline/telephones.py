"""Telephone numbers in a text: with a country code (E.164), as a country writes them, or after a word that says so.

A number that only its grouping tells from an amount ("912 345 678") counts after such a word; one with a country
code, an area code in parentheses or the leading zero that most countries dial counts anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

_SURE = (
    r"(?:tele|t[ée]l[ée])(?:ph|f)[oóò]\w{1,6}|t[ée]l|phones?|ph(?=[.:])|mobiles?|mobil\w{0,4}|m[óo]vil|celular\w{0,2}"
    r"|cellulare|whatsapp|telegram|signal|sms|hotline|fax|appelez|anruf\w*|ruf(?:en sie|t)?|handy(?:nummer)?"
    r"|ll[áa]m\w{1,5}|ligue|zadzwo[nń]\w{0,3}|kom[óo]rk\w{1,2}|телефон\w{0,3}|тел|звоните|моб"
)
_LOOSE = r"call(?: us| me| now)?(?: at| on)?|cell|ring(?: oss)?|bel(?: ons)?|chiama\w{0,3}"
"""Words that mean other things too: the number follows at once."""
_CUED = re.compile(
    rf"(?:(?<!\w)(?:{_SURE})(?!\w)[^\d+\n]{{0,24}}?|(?<!\w)(?:{_LOOSE})(?!\w)[ .:]{{0,3}}"
    r"|(?:电话|電話|手机|手機|热线|致电|拨打|연락처|전화|[☎✆📞📱☏])[^\d+\n]{0,12}?)"
    r"(\+?\(?\d(?:[ ().\-/]{0,3}\d){5,14})(?!\d)",
    re.IGNORECASE,
)
_COUNTRY = (
    r"(?:1|7|2[07]|2[1-689]\d|3[0-469]|3[578]\d|4[013-9]|42[013]|5[1-8]|5[09]\d|6[0-6]|6[789]\d|8[1246]|8[0578]\d"
    r"|9[0-58]|9[679]\d)"
)
"""Country codes that ITU-T E.164 assigns."""
_EXTENSION = r"(?: ?(?:x|ext\.?|доб\.?) ?\d{1,5})?"
_INTERNATIONAL = re.compile(
    rf"(?<![\w.+])(?<!\d[ -])(?:\+ ?|00[ -]?)(?:\({_COUNTRY}\)|{_COUNTRY})"
    rf"(?:[ ().\-/]{{0,3}}\d){{6,13}}{_EXTENSION}(?!\w|[.,]\d)"
)
_APART = r"(?<![\w.,+/:#-])(?<!\d[ -])(?<!\d[/.] )"
_END = r"(?![\w/:]|[ -]\d|[.,]\d|[ -]{2,3}\d)"
_NATIONAL = re.compile(
    rf"{_APART}(?:"
    r"(?P<zero>0[1-9]\d{0,4}(?: ?[ /-] ?\d{2,8}){1,4}(?:-\d)?)"  # 030/1234567, 0171 234 56 78, 03-1234-5678
    r"|(?P<area>8?[ -]?\((?!(?:1[5-9]|20)\d\d\))0?\d{2,4}\)[ /-]{0,3}\d{2,5}(?:[ .-]?\d{2,5}){1,3})"  # (030) 123 456 78
    r"|(?:1[-. ])?[2-9]\d{2}([-. ])\d{3}\3\d{4}"  # 415-555-0132
    r"|0[1-9]([.-])\d{2}\4\d{2}\4\d{2}\4\d{2}"  # 01.23.45.67.89
    r"|0[1-9]\d{1,2}\.\d{3}\.\d{3,4}|0[1-9]\.\d{4}\.\d{4}"  # 0412.345.678
    r"|8[ -]?\(?[3489]\d{2}\)?[ -]\d{3}[ -]\d{2}[ -]?\d{2}"  # 8 495 123-45-67
    r"|[1-9]\d 9\d{4}-\d{4}"  # 11 91234-5678
    r"|1[3-9]\d{9}|1[3-9]\d([ -])\d{4}\5\d{4}"  # 138 1234 5678
    r"|0[1-9]\d{8,9}"
    r"|555[-. ]\d{4}"
    rf"){_EXTENSION}{_END}"
)
_DATES = re.compile(
    r"^(?:1[4-9]|20)\d\d ?[-/. ] ?(?:(?:1[4-9]|20)\d\d|\d{1,2} ?[-/.] ?\d{1,2}|\d{1,3} ?[-/. ] ?\d{1,4})$"
    r"|^\d{1,2}[-/.]\d{1,2}[-/.](?:\d{2}){1,2}(?: ?- ?\d{1,2}[-/.]\d{1,2}[-/.](?:\d{2}){1,2})?$"
    r"|^(?:1[4-9]|20)\d\d-\d\d-\d\d"
)
_NEVER = re.compile(
    r"^97[89](?:[- ]?\d){10}$"  # ISBN
    r"|^(\d)\1+$"
    r"|^[+(]*\d+\.\d{5,}"  # decimals
)
_OTHER = re.compile(
    r"(?:\b(?:nos?|nr|núm|part|p/n|sku|inv|isbn|issn|item|model|order|ref|art|cat|id|lot|serial|gtin|ean|page|pp?|vol)|n[º°]|№|#)"
    r"[.:]{0,2} ?$",
    re.IGNORECASE,
)
"""What stands before the number of a thing."""
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d")
DIGITS = {"least": 9, "most": 12}
"""Digits of a national number with its leading zero, shortest and longest."""


def telephones(text: str) -> Iterator[tuple[int, int]]:
    """Where telephone numbers stand in a legible text; dates, years, ISBNs and other long numbers do not count."""
    found: list[tuple[int, int]] = []
    for pattern, group, holds in (
        (_INTERNATIONAL, 0, _reachable),
        (_CUED, 1, _cued),
        (_NATIONAL, 0, _national),
    ):
        for match in pattern.finditer(text):
            start, stop = match.span(group)
            number = match[group]
            if _NEVER.match(number) or _DATES.match(number) or not holds(match):
                continue
            if not any(start < b and a < stop for a, b in found):
                found.append((start, stop))
                yield start, stop


def _reachable(match: re.Match[str]) -> bool:
    """Whether the digits after + or 00 are as many as that country's numbers have."""
    digits = re.sub(r"\D", "", re.sub(r"[a-zа-я].*", "", match[0].removeprefix("00"), flags=re.IGNORECASE))
    if match[0].isdigit() and len(match[0]) > 14:  # without a break: some other number
        return False
    if digits[0] in "17":  # North America and Russia: ten digits, always
        return len(digits.replace("10", "1", 1) if match[0].startswith("+1 (0)") else digits) == 11
    return 8 <= len(digits) <= (15 if "(0)" in match[0] else 14)


def _cued(match: re.Match[str]) -> bool:
    return 6 <= sum(map(str.isdigit, match[1])) <= 14


def _national(match: re.Match[str]) -> bool:
    """Whether groups of digits are a number that is dialled, and not dates, years or a count."""
    if _OTHER.search(match.string, max(0, match.start() - 16), match.start()):
        return False
    if match["zero"] is None and match["area"] is None:
        return True
    groups = re.findall(r"\d+", re.sub(r" ?[a-zа-я].*", "", match[0], flags=re.IGNORECASE))
    digits = sum(map(len, groups))
    if not DIGITS["least"] <= digits <= (DIGITS["most"] if len(groups) == 2 else DIGITS["most"] - 1):
        return False
    if all(_YEAR.fullmatch(group) for group in groups[1:]):
        return False
    if match["zero"] is not None and match[0].count("/") > (
        match[0].find("/") == len(groups[0]) or " /" in match[0]
    ):
        return False
    steps = {int(b) - int(a) for a, b in pairwise(groups)}
    return len(groups) < 4 or len(steps) > 1
