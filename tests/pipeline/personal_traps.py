"""What looks like personal data and is none: years, prices, ISBNs, scores, versions and the like.

In a template `<9999>` is that many drawn digits, `<1-31>` a number of that range, `<01-12>` one padded to that width,
and `<x40>` hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

BLANK = re.compile(r"<(?:x(\d+)|(\d+)-(\d+)|(9+))>")


def filled(draw: Random, template: str) -> str:
    """A template with its blanks filled."""

    def one(blank: re.Match[str]) -> str:
        hexadecimal, low, high, nines = blank.groups()
        if hexadecimal:
            return f"{draw.getrandbits(4 * int(hexadecimal)):0{hexadecimal}x}"
        if nines:
            return "".join(draw.choice("0123456789") for _ in nines)
        return str(draw.randint(int(low), int(high))).zfill(len(low))

    return BLANK.sub(one, template)


def isbn13(draw: Random) -> str:
    body = filled(draw, "978<999999999>")
    check = -sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(body)) % 10
    a, b = draw.randint(5, 6), draw.randint(8, 11)
    return f"{draw.choice(['ISBN ', ''])}{body[:3]}-{body[3]}-{body[4:a]}-{body[a:b]}-{body[b:]}-{check}"


def isbn10(draw: Random) -> str:
    body = filled(draw, "<999999999>")
    check = -sum(int(c) * (10 - i) for i, c in enumerate(body)) % 11
    return f"ISBN {body[0]}-{body[1:5]}-{body[5:]}-{'X' if check == 10 else check}"


def orcid(draw: Random) -> str:
    """Sixteen digits in fours, with the check digit of ISO 7064 MOD 11-2."""
    body, total = filled(draw, "0000000<1-3><9999999>"), 0
    for c in body:
        total = (total + int(c)) * 2
    check = (12 - total % 11) % 11
    whole = body + ("X" if check == 10 else str(check))
    return "-".join(whole[at : at + 4] for at in range(0, 16, 4))


def ean13(draw: Random) -> str:
    body = filled(draw, draw.choice(["40", "50", "30", "76", "87"]) + "<9999999999>")
    check = -sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(body)) % 10
    return f"{draw.choice(['EAN', 'GTIN', 'barcode'])} {body}{check}"


Traps = dict[str, tuple[str, ...] | Callable[[Random], str]]

COMMON: Traps = {
    "years": ("<1700-1950>-<1951-2026>", "<1700-1950>–<1951-2026>", "<1700-1950> to <1951-2026>"),
    "date": ("<01-28>.<01-12>.<1850-2026>", "<1850-2026>-<01-12>-<01-28>", "<01-12>/<01-28>/<1850-2026>",
        "<01-28>-<01-12>-<1850-2026>",
             "<01-28> <01-12> <1850-2026>", "<1850-2026><01-12><01-28>", "<1850-2026>/<01-12>/<01-28>"),
    "dates": ("<01-28>.<01-12>.-<01-28>.<01-12>.<1950-2026>", "<01-28>.<01-12>.<1950-1990> - <01-28>.<01-12>.<1991-2026>",
              "<1900-1950>-<01-12>-<01-28>/<1951-2026>-<01-12>-<01-28>",
              "<01-28>/<01-12>/<01-99> - <01-28>/<01-12>/<01-99>"),
    "date and time": ("<1990-2026>-<01-12>-<01-28>T<00-23>:<00-59>:<00-59>Z",
        "<01-28>.<01-12>.<1990-2026> <00-23>:<00-59>"),
    "price": ("$<1-999>,<999>.<99>", "<1-999> <999>,<99> €", "EUR <1-999>.<999>,<99>", "£<1-99999>", "¥<1-999>,<999>",
        "CHF <1-9>'<999>.00"),
    "population": ("<1-999> <999> <999> people", "<1-999>,<999>,<999>", "<1-999>.<999>.<999> Einwohner",
        "<1-999>\u202f<999>\u202f<999> habitants",
                   "<1-999>'<999>'<999>", "<1-999> <999> inhabitants", "<1-999> <999> <999>"),
    "isbn13": isbn13, "isbn10": isbn10, "orcid": orcid, "ean": ean13,
    "issn": ("ISSN <9999>-<9999>",),
    "doi": ("doi:10.<1000-9999>/s<99999>-0<10-26>-<99999>-<9>", "https://doi.org/10.<1000-9999>/<9999999>.<9999999>"),
    "arxiv": ("arXiv:<10-26><01-12>.<99999>",),
    "coordinates": ("<0-89>.<9999>, <0-179>.<9999>", "<0-89>° <0-59>' <0-59>\" N, <0-179>° <0-59>' E",
        "-<0-89>.<999999>,<0-179>.<999999>",
                    "<0-89>.<9999> <0-179>.<9999>", "<0-89>°<00-59>′<00-59>″N <0-179>°<00-59>′<00-59>″E"),
    "version": ("version <1-20>.<0-20>.<0-20>", "v<1-20>.<0-20>", "Chrome <60-140>.0.<1000-7000>.<1-200>",
        "Python 3.<6-15>.<0-9>"),
    "part number": ("part no. <9999>-<999>-<99>", "P/N C<999>-<9999>-<999>", "SKU <99999999>", "No. <999>.<999>.<99>",
        "Art.-Nr. <999>.<9999>.<999>"),
    "inventory": ("<1850-2020>.<1-999>.<1-99>", "inv. <1850-2020>-<10-99>-<1-999>", "RP-F-<1900-2020>-<999>-<99>",
        "<1850-2020>,<0101-1231>.<1-99>"),
    "score": ("<0-9>-<0-9>", "<0-7>-<0-7>, <0-7>-<0-7>, <0-7>-<0-7>", "<60-130>:<60-130>", "<0-7>–<0-7> <0-7>–<0-7> 7–6",
        "<0-7>-<0-7> <0-7>-<0-7> <0-7>-<0-7>"),
    "hashtag": ("#sunset<1990-2026>", "#nofilter #beach", "#24h", "#<999999>"),
    "handle": ("@anna.weber", "@the_old_mill", "by @photo4you", "@user2019, @friend_b"),
    "time": ("<00-23>:<00-59>", "<0-11>:<00-59>-<12-23>:<00-59>", "<0-23>h<00-59>", "<0-9>:<00-59>:<00-59>"),
    "pixels": ("<200-9999>x<200-9999> px", "<200-9999> × <200-9999>", "f/<1-9>.<0-9>, 1/<60-4000> s, ISO <100-6400>"),
    "uuid": ("<x8>-<x4>-<x4>-<x4>-<x12>",),
    "constant": ("299 792 458 m/s", "6.022 140 76 × 10^23", "3.14159265358979323846", "1.602176634e-19 C",
        "9.109 383 7015 × 10−31 kg"),
    "counting": ("1 2 3 4 5 6 7 8 9 10", "0, 1, 1, 2, 3, 5, 8, 13, 21, 34", "10 20 30 40 50 60 70", "2, 4, 6, 8, 10, 12",
        "1-2-3-4-5-6-7-8-9"),
    "patent": ("US <1-11>,<999>,<999> B2", "EP <1-3> <999> <999> A1"),
    "catalogue": ("NGC <1-7840>", "HD <100000-359999>", "2MASS J<99999999>+<9999999>", "SDSS J<999999>.<99>-<999999>.<9>",
        "LC-USZ62-<99999>", "Nr. <9>/<99> <1900-1999>"),
    "file name": ("IMG_<1990-2026><01-12><01-28>_<999999>.jpg", "DSC<99999>.JPG", "scan-<999>-<9999>.tif",
        "logo@<2-3>x.png", "<9999999>_<99999>.jpg"),
    "timestamp": ("t=17<99999999>", "17<99999999>", "at 17<99999999>000", "17<99999999>000000"),
}  # fmt: skip

OWN: dict[str, Traps] = {
    "email": {
        "retina file": ("icon@<2-4>x.png", "map@<2-4>x.jpg", "hero-image@<2-4>x.webp", "arrow@<2-4>x.svg"),
        "package": ("react@<0-20>.<0-30>.<0-9>", "left-pad@<0-20>.<0-30>.<0-9>", "@types/node@<0-20>.<0-30>.<0-9>"),
        "at a price": ("<2-90> apples @ $<1-9>.<99>", "<2-90> @ <1-9>,<99> €"),
        "at a place": ("look at the dot in the middle", "we met at noon, dot on time", "live @ the Blue Note",
            "dinner at anna's", "a point at infinity",
                       "polka dot dress at the ball", "at home.", "good at maths. Dot the i", "see you @ 9.30 tonight",
                       "a man at www.example.org",
                       "the cat sat at St. Ives", "arrived at Heathrow. Com and Tom waited", "stop at the red dot now"),
        "no address": ("@property def size(self)", "@media (max-width: 600px)", "@2x", "user@", "@example.com", "a @ b",
            "x@y"),
    },
    "phone": {},
    "iban": {
        "VAT": ("DE<999999999>", "ATU<99999999>", "FR12<999999999>", "PL<9999999999>", "IT<99999999999>"),
            "passport": ("C0<9999999>", "GB<9999999>", "FR<9999999>"),
        "bic": ("DEUTDEFF500", "BNPAFRPPXXX", "NWBKGB2L"), "aircraft": ("DE12 engine", "BE20 King Air", "CH47 Chinook",
            "PT22 recruit"),
        "part": ("GB<99> A<999> B<999>", "DE<99> <9999> <9999>", "NO<99><9999>"),
    },
    "card": {
        "decimal": ("0.<3-6><999999999999999>", "1.<3-6><999999999999999>"), "number": ("1<999999999999999>",
            "No. 0<999999999999999>"),
        "grid": ("<9999> <9999> <9999>", "<1-9> <9999> <9999>"),
            "years": ("<1900-1999> <1900-1999> <1900-1999> <1900-1999>",), "hash": ("<x40>",),
    },
    "ip_address": {
        "version": ("version <1-20>.<0-20>.<0-20>.<0-200>", "v<1-20>.<0-20>.<0-20>.<0-200>",
            "Firmware <1-9>.<0-9>.<0-9>.<0-9>", "release <1-20>.<0-20>.<0-20>.<0-200>"),
        "section": ("section <1-9>.<1-9>.<1-9>.<1-9>", "§ <1-9>.<1-9>.<1-9>.<1-9>", "Abschnitt <1-9>.<1-9>.<1-9>.<1-9>",
            "Chapter <1-9>.<1-9>.<1-9>.<1-9>"),
        "oid": ("1.3.6.1.4.1.<1-9999>.<1-9>",), "too large": ("<256-999>.<0-255>.<0-255>.<0-255>",
            "<1-255>.<0-255>.<256-999>.<0-255>"),
        "five": ("<0-255>.<0-255>.<0-255>.<0-255>.<0-255>",), "mac": ("<x2>:<x2>:<x2>:<x2>:<x2>:<x2>",
            "<x2>-<x2>-<x2>-<x2>-<x2>-<x2>"),
        "colons": ("std::vector", "p::before", "a::b::c", "Foo::Bar", "1:2:3", "3:16", "12:30:45", "::", "cafe::bar",
            "8:00::9:00", "de:ad", "ratio 4:3:2:1"),
        "mask": ("mask 255.255.255.0", "127.0.0.1", "::1", "0.0.0.0"),
    },
}  # fmt: skip
"""Traps for one kind, beside those for all."""


def trap(kind: str, draw: Random) -> tuple[str, str]:
    """A name and a text of something that is none of the kinds; half of them made for this kind."""
    traps = OWN[kind] if OWN[kind] and draw.random() < 0.5 else COMMON
    name = draw.choice(sorted(traps))
    made = traps[name]
    return f"trap {name}", made(draw) if callable(made) else filled(draw, draw.choice(made))
