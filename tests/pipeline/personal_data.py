"""Plants personal data in sentences, beside figures that only look like it: rows whose truth is known.

Written from the standards alone, apart from the detectors: RFC 5321 and 6531 (e-mail), E.164 and national ways of
writing telephone numbers, the registry of ISO 13616 (IBAN), ISO/IEC 7812 (cards), RFC 4291 and 5952 (IP). Everything
is invented: the numbers are drawn, and none was taken from anywhere.

A national telephone number that only its grouping tells from an amount ("912 345 678") stands behind a word that
says what it is, as it would have to for a reader; one with its country code, area code in parentheses or leading
zero stands anywhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from tests.pipeline.personal_traps import trap

KINDS = ("email", "phone", "iban", "card", "ip_address")


@dataclass(frozen=True)
class Planted:
    """A text, and the one kind of personal data in it (None for a text that only looks like it)."""

    text: str
    kind: str | None
    form: str


def rows(kind: str, n: int, seed: int) -> Iterator[Planted]:
    """n rows for a kind: half of them hold it, half hold something that looks like it."""
    draw = Random(f"{kind} {seed}")
    for i in range(n):
        if i % 2:
            form, value = WRONG[kind](draw) if kind in WRONG and draw.random() < 0.3 else trap(kind, draw)
            yield Planted(framed(draw, value, ANYWHERE), None, form)
        else:
            form, value, cue = MAKERS[kind](draw)
            yield Planted(framed(draw, value, CUES[cue] if cue else ANYWHERE), kind, form)


def framed(draw: Random, value: str, frames: tuple[str, ...]) -> str:
    return draw.choice(frames).replace("{}", value)


ANYWHERE = (
    "{}", "{}.", "({})", "see {} for more", "A photo of the old harbour, {}, taken in spring.", "Anna Weber: {}",
    "Das Bild zeigt {} auf einem Schild.",
    "On y lit « {} » en grandes lettres.", "Un cartel con {}, en Sevilla.",
    "Sul muro c'è scritto {}", "Na placa está escrito: {}; ao lado, uma igreja.", "Op het bord staat {}!",
    "Na tablicy napisano {}, obok stoi rower.", "På skylten står {} med vita bokstäver", "照片上写着{}。",
    "看板に「{}」と書いてある。",
    "На вывеске написано {}.", "a sign, {}, a tree", "line one\n{}\nline three", 'They wrote "{}" on the wall',
    "{} / blue van",
)  # fmt: skip

CUES = {
    "phone": (
        "Call {} today", "Tel. {}", "Phone: {}", "call us at {}!", "Mobile {}", "Telefon: {}", "Ruf uns an: {}", "Handy {}",
        "Tél. : {}", "Téléphone {}", "Appelez le {}", "Teléfono: {}", "Llámanos al {}", "Móvil {}", "Telefono {}",
        "Cell. {}",
        "Tel: {} (Anna)", "WhatsApp {}", "Telefone: {}", "Ligue para {}", "Bel {}", "tel. {} lub e-mail", "Zadzwoń: {}",
        "Ring {}",
        "电话：{}", "手机 {}", "電話 {}", "Тел.: {}", "Звоните: {}", "Fax: {}", "☎ {}",
    ),
}  # fmt: skip


def digits(draw: Random, pattern: str) -> str:
    """`x` stands for any digit, `N` for 2 to 9."""
    return "".join(
        draw.choice("0123456789") if c == "x" else draw.choice("23456789") if c == "N" else c for c in pattern
    )


# --- e-mail -----------------------------------------------------------------------------------------------

FIRST = ("anna", "ben", "carla", "david", "elena", "franz", "grace", "hugo", "ines", "jan", "kira", "luis", "maria", "nils",
"olga", "paul", "rosa", "sven", "tom", "vera", "wei", "yuki",)  # fmt: skip
LAST = ("weber", "smith", "dupont", "garcia", "rossi", "kowalski", "jansen", "berg", "silva", "novak", "ito", "ivanova",
"okafor", "haddad", "larsen",)  # fmt: skip
PLACES = ("example", "harbour-news", "blue-mill", "stadtarchiv", "museo-luz", "oldtown", "photo4you", "mail", "lindenhof",
"kanal7", "uni-nordsee", "riverside",)  # fmt: skip
TLDS = ("com", "org", "net", "edu", "info", "de", "fr", "es", "it", "nl", "pl", "se", "ch", "at", "pt", "cz", "fi", "gr",
"ru", "cn", "jp", "io", "app", "dev", "museum", "photography", "travel", "example",)  # fmt: skip
SECOND = ("co.uk", "ac.uk", "com.br", "com.au", "co.jp", "gov.in", "or.at", "edu.pl", "asso.fr",)  # fmt: skip


def email(draw: Random) -> tuple[str, str, None]:
    first, last = draw.choice(FIRST), draw.choice(LAST)
    joint = draw.choice([".", "_", "-", ""])
    local = draw.choice([f"{first}{joint}{last}", first, f"{first[0]}{last}", f"{first}{draw.randrange(1, 2000)}",
    f"{first}.{last}+photos",
                         f"{last}_{first}", "info", "o'" + last, f"{first}.{last[0]}.{draw.randrange(99)}", "kontakt",
                         f"{first}-{last}",
                         f"{first}/{last}", f"{first}={last}", f"!{first}", f"{first}%{last}"])  # fmt: skip
    domain = draw.choice(PLACES) + "." + draw.choice(TLDS if draw.random() < 0.8 else SECOND)
    if draw.random() < 0.15:
        domain = draw.choice(["mail", "lists", "foto", "dept-3"]) + "." + domain
    form = draw.choice(
        ["plain"] * 8 + ["upper", "international", "punycode", "mailto", "angle", "quoted"] + list(DISGUISES)
    )
    if form == "upper":
        return form, f"{local}@{domain}".title() if draw.random() < 0.5 else f"{local}@{domain}".upper(), None
    if form == "international":
        return (
            form,
            draw.choice(["müller", "josé", "ольга", "张伟", "søren", "łukasz"])
            + "@"
            + draw.choice(["büro.example", domain, "例え.jp"]),
            None,
        )
    if form == "punycode":
        return form, f"{local}@xn--bro-hoa.example", None
    if form == "mailto":
        return form, f"mailto:{local}@{domain}", None
    if form == "angle":
        return form, f"{first.title()} {last.title()} <{local}@{domain}>", None
    if form == "quoted":
        return form, f'"{first} {last}"@{domain}', None
    if form in DISGUISES:
        return (
            form,
            disguised(f"{first}.{last}" if draw.random() < 0.5 else first, domain, *DISGUISES[form]),
            None,
        )
    return form, f"{local}@{domain}", None


DISGUISES = {
    "[at] [dot]": (" [at] ", " [dot] "), "(at) (dot)": (" (at) ", " (dot) "), "[at]": ("[at]", "."), "(at)": ("(at)", "."),
    "AT DOT": (" AT ", " DOT "), "at dot": (" at ", " dot "), "{at}": ("{at}", "{dot}"), "fullwidth": ("＠", "."),
    "entity": ("&#64;", "."), "spaced": (" @ ", "."), "<at>": (" <at> ", "."), "_at_": ("_at_", "_dot_"),
    "[ät]": ("[ät]", "."), "(arroba)": (" (arroba) ", " (punto) "),
}  # fmt: skip
"""How people write @ and . so that machines do not read them."""


def disguised(local: str, domain: str, at: str, dot: str) -> str:
    return local + at + (domain if dot == "." else domain.replace(".", dot))


# --- telephone --------------------------------------------------------------------------------------------

PHONES = {
    "US": ("+1 NNx-NNx-xxxx", "+1-NNx-NNx-xxxx", "+1NNxNNxxxxx", "+1 (NNx) NNx-xxxx", "(NNx) NNx-xxxx", "NNx-NNx-xxxx",
        "NNx.NNx.xxxx", "1-800-NNx-xxxx"),
    "GB": ("+44 20 7Nxx xxxx", "+44 7700 900xxx", "+44 (0)20 7Nxx xxxx", "020 7Nxx xxxx", "07700 900xxx", "(0161) 496 0xxx",
        "01632 960xxx"),
    "DE": ("+49 30 Nxxxxxx", "+49 (0)30 Nxxxxxx", "0049 30 Nxxxxxxx", "030 Nxxxxxxx", "030/Nxxxxxx", "0171 Nxxxxxx",
        "0171-Nxxxxxx", "(030) Nxx xxx xx", "+49 171 Nxxxxxx", "089 / xx xx xx-x"),
    "FR": ("+33 1 Nx xx xx xx", "01 Nx xx xx xx", "06.12.Nx.xx.xx", "06-12-Nx-xx-xx", "+33 (0)6 12 Nx xx xx",
        "+33612Nxxxxx"),
    "ES": ("+34 6Nx xx xx xx", "+34 9Nx xxx xxx", "tel|6Nx xx xx xx", "tel|9Nx xxx xxx", "tel|6Nxxxxxxx"),
    "IT": ("+39 06 Nxxxxxx", "+39 333 Nxx xxxx", "06 Nxxxxxxx", "02-Nxxxxxx", "tel|333 Nxx xxxx", "tel|333 Nxxxxxx"),
    "PL": ("+48 600 Nxx xxx", "+48 22 Nxx xx xx", "tel|600 Nxx xxx", "tel|600-Nxx-xxx", "tel|22 Nxx xx xx"),
    "NL": ("+31 6 1Nxxxxxx", "+31 20 Nxx xxxx", "020-Nxxxxxx", "06-1Nxxxxxx", "06 1N xx xx xx"),
    "CH": ("+41 44 Nxx xx xx", "044 Nxx xx xx", "079 Nxx xx xx", "0041 44 Nxx xx xx"),
    "AT": ("+43 1 Nxxxxxx", "+43 664 Nxxxxxx", "0664 Nxxxxxx", "0664/Nxx xx xx", "01/Nxx xx xx"),
    "SE": ("+46 8 Nxx xxx xx", "08-Nxx xxx xx", "070-Nxx xx xx", "+46 70 Nxx xx xx"),
    "BR": ("+55 11 9Nxxx-xxxx", "(11) 9Nxxx-xxxx", "(21) Nxxx-xxxx", "tel|11 9Nxxx-xxxx"),
    "MX": ("+52 55 Nxxx xxxx", "tel|55 Nxxx xxxx", "(55) Nxxx-xxxx"),
    "IN": ("+91 98Nxx xxxxx", "+91-98Nxxxxxxx", "098Nxx xxxxx", "tel|98Nxx xxxxx", "tel|98Nxxxxxxx", "022-Nxxx xxxx"),
    "CN": ("+86 138 Nxxx xxxx", "+86 10 Nxxx xxxx", "010-Nxxxxxxx", "021-Nxxx xxxx", "tel|138 Nxxx xxxx", "tel|138Nxxxxxxx",
        "tel|138-Nxxx-xxxx"),
    "JP": ("+81 3-Nxxx-xxxx", "+81 90-Nxxx-xxxx", "03-Nxxx-xxxx", "090-Nxxx-xxxx", "(03) Nxxx-xxxx"),
    "KR": ("+82 10-Nxxx-xxxx", "010-Nxxx-xxxx", "02-Nxxx-xxxx"),
    "AU": ("+61 2 9Nxx xxxx", "(02) 9Nxx xxxx", "0412 Nxx xxx", "04 1Nxx xxxx", "+61 412 Nxx xxx"),
    "RU": ("+7 495 Nxx-xx-xx", "+7 (495) Nxx-xx-xx", "8 (495) Nxx-xx-xx", "tel|8 800 Nxx-xx-xx", "+7916Nxxxxxx"),
    "ZA": ("+27 21 Nxx xxxx", "021 Nxx xxxx", "082 Nxx xxxx"),
}  # fmt: skip
"""National and international ways of writing, by country. After `tel|` the grouping alone does not tell."""


def phone(draw: Random) -> tuple[str, str, str | None]:
    country = draw.choice(sorted(PHONES))
    pattern = draw.choice(PHONES[country])
    bare = pattern.removeprefix("tel|")
    number = digits(draw, bare)
    if draw.random() < 0.1:
        number = number.replace(" ", "\u00a0")
    elif draw.random() < 0.04:
        number = number.replace("-", "‑").replace(" ", "\u202f")
    return f"{country} {bare}", number, "phone" if bare != pattern or draw.random() < 0.4 else None


# --- bank accounts ----------------------------------------------------------------------------------------

REGISTRY = """
AD 4n4n12c;AE 3n16n;AL 8n16c;AT 5n11n;AZ 4a20c;BA 16n;BE 12n;BG 4a6n8c;BH 4a14c;BI 23n;BR 23n1a1c
BY 4c4n16c;CH 5n12c;CR 18n;CY 8n16c;CZ 20n;DE 18n;DJ 23n;DK 14n;DO 4c20n;EE 16n;EG 25n;ES 20n;FI 14n
FK 2a12n;FO 14n;FR 10n11c2n;GB 4a14n;GE 2a16n;GI 4a15c;GL 14n;GR 7n16c;GT 4c20c;HN 4a20n;HR 17n;HU 24n
IE 4a14n;IL 19n;IQ 4a15n;IS 22n;IT 1a10n12c;JO 4a4n18c;KW 4a22c;KZ 3n13c;LB 4n20c;LC 4a24c;LI 5n12c;LT 16n
LU 3n13c;LV 4a13c;LY 21n;MC 10n11c2n;MD 20c;ME 18n;MK 3n10c2n;MN 16n;MR 23n;MT 4a5n18c;MU 4a19n3a;NI 4a20n
NL 4a10n;NO 11n;OM 3n16c;PK 4a16c;PL 24n;PS 4a21c;PT 21n;QA 4a21c;RO 4a16c;RS 18n;RU 14n15c;SA 2n18c
SC 4a20n3a;SD 14n;SE 20n;SI 15n;SK 20n;SM 1a10n12c;SO 19n;ST 21n;SV 4a20n;TL 19n;TN 20n;TR 6n16c;UA 6n19c
VA 18n;VG 4a16n;XK 16n;YE 4a4n18c
"""
"""Structure of the national part after country and check digits, from the registry's release 101 (SWIFT)."""
CLASSES = {"n": "0123456789", "a": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
CLASSES["c"] = CLASSES["n"] + CLASSES["a"]


def national(draw: Random, structure: str) -> str:
    made, count = "", ""
    for c in structure:
        if c.isdigit():
            count += c
        else:
            made, count = made + "".join(draw.choice(CLASSES[c]) for _ in range(int(count))), ""
    return made


def iban(draw: Random) -> tuple[str, str, None]:
    country, structure = draw.choice(REGISTRY.replace("\n", ";").strip(";").split(";")).split()
    body = national(draw, structure)
    check = 98 - int("".join(str(int(c, 36)) for c in body + country + "00")) % 97
    whole = f"{country}{check:02d}{body}"
    form = draw.choice(["compact", "fours", "fours", "nbsp", "prefixed", "dashes", "lower"])
    fours = " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))
    made = {"compact": whole, "fours": fours, "nbsp": fours.replace(" ", "\u00a0"), "prefixed": f"IBAN: {fours}",
            "dashes": fours.replace(" ", "-"), "lower": whole.lower()}  # fmt: skip
    return f"{country} {form}", made[form], None


# --- cards ------------------------------------------------------------------------------------------------

SCHEMES = {
    "Visa": (("4",), (16,)), "Visa 13": (("4",), (13,)), "Visa 19": (("4",), (19,)),
    "Mastercard": (("51", "52", "53", "54", "55", "2221", "2300", "2500", "2719"), (16,)), "American Express": (("34",
        "37"), (15,)),
    "Discover": (("6011", "644", "649", "65"), (16,)), "Diners Club": (("300", "305", "36", "38", "39"), (14,)),
    "JCB": (("3528", "3550", "3589"), (16,)), "UnionPay": (("62",), (16, 19)), "Maestro": (("5018", "5020", "6304", "6759",
        "6763"), (16,)),
    "Mir": (("2200", "2202", "2204"), (16,)),
}  # fmt: skip
GROUPS = {13: (4, 3, 3, 3), 14: (4, 6, 4), 15: (4, 6, 5), 16: (4, 4, 4, 4), 19: (4, 4, 4, 4, 3)}


def luhn(body: str) -> str:
    """The check digit of ISO/IEC 7812-1, annex B."""
    doubled = [int(c) * (2 if i % 2 == 0 else 1) for i, c in enumerate(reversed(body))]
    return str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)


def grouped(number: str, gap: str) -> str:
    at, made = 0, []
    for size in GROUPS[len(number)]:
        made.append(number[at : at + size])
        at += size
    return gap.join(made)


def card(draw: Random) -> tuple[str, str, None]:
    scheme = draw.choice(sorted(SCHEMES))
    prefixes, lengths = SCHEMES[scheme]
    body = draw.choice(prefixes)
    body += digits(draw, "x" * (draw.choice(lengths) - len(body) - 1))
    gap = draw.choice(["", " ", " ", "-", "\u00a0"])
    return f"{scheme} {gap!r}", grouped(body + luhn(body), gap), None


# --- IP addresses -----------------------------------------------------------------------------------------


def ip_address(draw: Random) -> tuple[str, str, None]:
    """Addresses of the public network only: private ones and loopback name nobody."""
    while not (v4 := ipaddress.IPv4Address(draw.getrandbits(32))).is_global or v4.is_multicast:
        pass
    first = draw.choice(
        [
            0x2001 << 16 | draw.randrange(0x400, 0xD00),
            0x2A00 << 16 | draw.getrandbits(16),
            0x2600 << 16 | draw.getrandbits(16),
        ]
    )
    host = draw.choice(
        [
            draw.getrandbits(96),
            draw.getrandbits(16),
            draw.getrandbits(32) << 64 | draw.getrandbits(12),
            draw.getrandbits(48) << 16,
        ]
    )
    v6 = ipaddress.IPv6Address(first << 96 | host)
    made = {
        "v4": str(v4), "v4 ": str(v4), "v4  ": str(v4), "v4 port": f"{v4}:{draw.choice([80, 443, 8080, 51413])}",
            "v4 prefix": f"{v4}/{draw.randrange(16, 33)}",
        "v4 URL": f"http://{v4}/cam.jpg", "v6": v6.compressed, "v6 ": v6.compressed, "v6 upper": v6.compressed.upper(),
            "v6 full": v6.exploded,
        "v6 no zeros": ":".join(f"{int(group, 16):x}" for group in v6.exploded.split(":")),
            "v6 URL": f"http://[{v6.compressed}]/",
        "v6 port": f"[{v6.compressed}]:443", "v6 prefix": f"{v6.compressed}/64", "v6 mapped": f"::ffff:{v4}",
    }  # fmt: skip
    form = draw.choice(sorted(made))
    return form.strip(), made[form], None


MAKERS: dict[str, Callable[[Random], tuple[str, str, str | None]]] = {
    "email": email, "phone": phone, "iban": iban, "card": card, "ip_address": ip_address,
}  # fmt: skip


def wrong_iban(draw: Random) -> tuple[str, str]:
    """One whose check digits are wrong."""
    _, right, _ = iban(draw)
    at = right.find("IBAN: ") + len("IBAN: ") if "IBAN: " in right else 0
    check = (int(right[at + 2 : at + 4]) + draw.randint(1, 96)) % 97
    return "trap wrong check", f"{right[: at + 2]}{check:02d}{right[at + 4 :]}"


def wrong_card(draw: Random) -> tuple[str, str]:
    """One whose check digit is wrong."""
    _, right, _ = card(draw)
    return "trap wrong check", right[:-1] + str((int(right[-1]) + draw.randint(1, 9)) % 10)


WRONG = {"iban": wrong_iban, "card": wrong_card}
