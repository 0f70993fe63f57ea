"""Texts in several languages: tags as BCP 47 writes them, and one caption for each language."""

from __future__ import annotations

import re
from collections.abc import Sequence

Text = tuple[str | None, str]
"""A text and its language, None where it is not said."""

MOST = 256
"""Languages of one picture; no honest record has more."""
_TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8}){0,6}")
_UNSAID = frozenset(("none", "und", "mul", "zxx", "mis", "qqq"))
_CODES = (
    "afr:af alb:sq sqi:sq amh:am ara:ar arm:hy hye:hy aze:az baq:eu eus:eu bel:be ben:bn bos:bs bre:br bul:bg "
    "bur:my mya:my cat:ca chi:zh zho:zh cos:co cym:cy wel:cy cze:cs ces:cs dan:da deu:de ger:de dut:nl nld:nl "
    "ell:el gre:el eng:en epo:eo est:et fao:fo fas:fa per:fa fin:fi fra:fr fre:fr fry:fy geo:ka kat:ka gla:gd "
    "gle:ga glg:gl guj:gu hau:ha heb:he hin:hi hrv:hr hun:hu ibo:ig ice:is isl:is ind:id ita:it jav:jv jpn:ja "
    "kal:kl kan:kn kaz:kk khm:km kor:ko kur:ku lao:lo lat:la lav:lv lit:lt ltz:lb mac:mk mkd:mk mal:ml mlt:mt "
    "mao:mi mri:mi mar:mr may:ms msa:ms mon:mn nep:ne nno:nn nob:nb nor:no oci:oc pan:pa pol:pl por:pt pus:ps "
    "que:qu roh:rm ron:ro rum:ro rus:ru san:sa sin:si slk:sk slo:sk slv:sl sme:se snd:sd som:so spa:es srp:sr "
    "swa:sw swe:sv tam:ta tel:te tgl:tl tha:th tib:bo bod:bo tur:tr uig:ug ukr:uk urd:ur uzb:uz vie:vi yid:yi "
    "yor:yo zul:zu"
)
"""ISO 639-2 and -3 codes that have a shorter one in ISO 639-1."""
_TWO_LETTERS = dict(pair.split(":") for pair in _CODES.split())


def tag(code: object) -> str | None:
    """A language as BCP 47 has it ("ger" is "de", "en_GB" is "en-GB"); None for none, or for what is no language."""
    if not isinstance(code, str) or not _TAG.fullmatch(code := code.strip()):
        return None
    first, *rest = code.replace("_", "-").split("-")
    first = first.lower()
    return None if first in _UNSAID else "-".join([_TWO_LETTERS.get(first, first), *rest])


def captions(parts: Sequence[Sequence[Text]], joint: str = "\n") -> list[Text]:
    """One text for each language, made of the parts that speak it; a part without a language goes with all.

    Languages come in the order in which they are first met.
    """
    languages: dict[str | None, None] = {}
    for part in parts:
        languages |= dict.fromkeys(lang for lang, _ in part if lang is not None)
    made = []
    for lang in list(languages)[:MOST] or [None]:
        lines: dict[str, None] = {}
        for part in parts:
            own = [text for spoken, text in part if spoken == lang]
            lines |= dict.fromkeys(own or [text for spoken, text in part if spoken is None])
        if text := joint.join(line for line in lines if line.strip()):
            made.append((lang, text))
    return made
