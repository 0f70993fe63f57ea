"""Noise taken out of a text when it comes in: wrongly decoded characters, markup, tails of captions, repetition.

Each repair can be switched off; what is switched on enters the key of every part (`pipeline/collect.py`), since a text
is written once. What a text lost is told in bytes by kind, and adds up: length as it came = length stored + all losses.
"""

from __future__ import annotations

import re
from typing import Literal

import ftfy
from ftfy import badness, fixes
from pydantic import Field

from pipeline import repeats
from pipeline.markup import stripped, unescaped
from pipeline.text import clean, plain
from storage.settings import Settings

LONGEST_CAPTION = 2000
"""Characters; what is longer is no caption, and has no tail."""
_NOISE = re.compile(rb"[&<#|]|://| - ")
_HARMLESS = bytes(n for n in range(32, 127) if chr(n) not in "&<#|:-")
"""Plain ASCII that holds nothing else, and no "www.", has nothing to repair but repetition and credits."""
_ODD = re.compile(
    "[\x80-\x9fŒœÃÂ]|[^\x00-\x7f][\x80-\u02ff\u0384\u0385\u0402\u0490\u0491\u2000-\u25ff\uf8ff\ufb01\ufb02\ufffd]"
)
"""What every text holds that ftfy takes for mojibake: to look for that takes it twenty times as long."""
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_HASHTAGS = re.compile(r"(?:[#＃][^\W\d_]{2}\w*[#＃]?)+[.,;!]?")
_GLUED = re.compile(r"(?<=[^\x00-\u02ff])(?:[#＃][^\W\d_]\w*[#＃]?)+$")
"""Hashtags right after a word of a script without spaces."""
_LEADS = re.compile(
    r"(?:^|(?<=[.!?|(\[])|(?<=[–—-]) ) ?"
    r"(?:read more|more info|more|see|via|source|link|visit|photo|image|from)(?: at| on| here)?$",
    re.IGNORECASE,
)
"""What led to an address that is gone."""
_ASKS = re.compile(
    r"\b(?:at|visit|see|on|from|to|via|in|by|of|and|or|is|the|with|siehe|auf|unter|bei|von|voir|sur|à|chez|ver|visite"
    r"|visita|en|de|su|da|na|z|do)$",
    re.IGNORECASE,
)
"""A word that an address completes."""
_DANGLING = " \n|–—-•·:,;([<»→"
_DOMAIN = (
    r"(?:https?://)?(?:[\w-]{1,40}\.){1,4}"
    r"(?:com|org|net|info|biz|shop|store|blog|io|eu|de|fr|es|it|pl|nl|ru|cn|jp|br|in|ca|au|ch|at|uk)/?"
)
_SITES = (
    r"shutterstock|i?stock(?: photo)?|alamy(?: stock (?:photo|images?))?|getty images|adobe stock|dreamstime|123rf"
    r"|depositphotos|flickr(?: - photo sharing!?)?|wikimedia commons|wikipedia(?:, the free encyclopedia)?|pinterest"
    r"|youtube|etsy|ebay|facebook|instagram|tumblr|deviantart|unsplash|pixabay|pexels|fine art america|redbubble|zazzle"
)
_SITE = re.compile(rf"\s[|–—\-·•»]\s+(?:{_DOMAIN}|{_SITES})\.?$", re.IGNORECASE)
_CREDIT = re.compile(
    r"(?:[.,;|–—•·(\[]\s*|\s-\s+|\n|(?<=[.!?])\s)"
    r"(?:(?:photo(?:graph(?:y|ed)?)?|image|picture|foto|bild|fotografía|crédit photo|zdjęcie)"
    r"(?: credits?| source)? ?(?:by|from|courtesy(?: of)?|von|par|di|autor|:|©)"
    r"|credits?:|courtesy of|©|\(c\)|摄影[:：]|图片来源[:：])"
    r"[^.|\n]{1,60}[)\].]*$",
    re.IGNORECASE,
)
_TAIL = 140
"""Characters at the end that may be a site's name or a credit."""

Told = str | None


class Denoise(Settings):
    """Which noise is taken out; a setting that is off leaves its kind as it came."""

    mojibake: bool = Field(True, description='Repair UTF-8 that was read as another encoding: "cafÃ©".')
    markup: bool = Field(True, description='Remove HTML tags and decode entities; "a < b" and "R&D" stay.')
    tails: bool = Field(True, description="Cut web addresses and hashtags at the end of a caption.")
    sites: bool = Field(True, description='Cut a site\'s name at the end of a caption: " | Example.com".')
    credits: bool = Field(False, description='Cut a credit at the end of a caption: "(Photo by …)".')
    repeats: bool = Field(True, description="Collapse words that a caption says over and over.")
    fold: tuple[Literal["quotes", "widths", "ligatures"], ...] = Field(
        (), description="Also write curly quotes, full-width letters or ligatures in their plain form."
    )
    tasks: tuple[str, ...] = Field(
        ("caption",), description="Tasks whose texts are captions: tails and repetition go from these only."
    )

    def clean(self, raw: bytes | None, task: str = "caption") -> tuple[str | None, str | None, Told]:
        """(text, reason, told): as `pipeline.text.clean`, and the bytes that it lost by kind: "markup 7, tail 18".

        A number is negative where a repair made the text longer. A repair that would leave nothing is not made.
        """
        if raw is None:
            return None, None, None
        caption = task in self.tasks
        if (ready := plain(raw)) is not None:
            noisy = raw.translate(None, _HARMLESS) and _NOISE.search(raw)
            if not (noisy or (caption and self._suspects(raw))):
                return ready, None, None
            found: str | None = ready
            reason, losses = None, list[tuple[str, int]]()
        else:
            found, reason, losses = self._decoded(raw)
        text = None if found is None else self._denoised(found, caption, losses)
        return text, reason, ", ".join(f"{kind} {n}" for kind, n in losses) or None

    def _suspects(self, raw: bytes) -> bool:
        return self.credits or (self.repeats and repeats.suspected(raw)) or b"www." in raw.lower()

    def _decoded(self, raw: bytes) -> tuple[str | None, str | None, list[tuple[str, int]]]:
        losses: list[tuple[str, int]] = []

        def mend(text: str) -> str:
            # before control characters go: they are what a wrongly read byte looks like
            mended = fixed(text) if self.mojibake else text
            if mended != text:
                losses.append(("mojibake", _bytes(text) - _bytes(mended)))
            return mended

        text, reason = clean(raw, mend=mend)
        lost = len(raw) - _bytes(text or "") - sum(n for _, n in losses)
        if reason is None and (lost or (text or "").encode() != raw) and (lost or not losses):
            losses.append(("unicode", lost))
        return text, reason, losses

    def _denoised(self, text: str, caption: bool, losses: list[tuple[str, int]]) -> str:
        steps = (
            ("markup", self.markup and ("&" in text or "<" in text), lambda t: _unmarked(t, caption)),
            ("fold", bool(self.fold) and not text.isascii(), self._folded),
            ("tail", caption and self.tails, without_tail),
            ("site", caption and self.sites, lambda t: _cut(_SITE, t)),
            ("credit", caption and self.credits, lambda t: _cut(_CREDIT, t)),
            ("repeats", caption and self.repeats, repeats.collapsed),
        )
        for kind, wanted, repair in steps:
            if not wanted:
                continue
            after = repair(text)
            if after and after != text:
                losses.append((kind, _bytes(text) - _bytes(after)))
                text = after
        return text

    def _folded(self, text: str) -> str:
        for kind in self.fold:
            text = FOLDS[kind](text)
        return clean(text.encode())[0] or ""


FOLDS = {
    "quotes": fixes.uncurl_quotes,
    "widths": fixes.fix_character_width,
    "ligatures": fixes.fix_latin_ligatures,
}


def fixed(text: str) -> str:
    """Mojibake repaired, by ftfy (Speer, https://ftfy.readthedocs.io); anything else is left alone."""
    return ftfy.fix_encoding(text) if _ODD.search(text) and badness.is_bad(text) else text


def without_tail(text: str) -> str:
    """A caption without the addresses and hashtags at its end; as it is if it has nothing else, or is no caption."""
    if len(text) > LONGEST_CAPTION:
        return text
    rest = text
    while rest:
        start = max(rest.rfind(" "), rest.rfind("\n")) + 1
        last = rest[start:]
        if _ADDRESS.fullmatch(last.strip("()[]<>")):
            before = _LEADS.sub("", rest[:start].rstrip(_DANGLING)).rstrip(_DANGLING)
            if _ASKS.search(before):  # the address is a word of the sentence
                break
            rest = before
        elif _HASHTAGS.fullmatch(last):
            rest = rest[:start].rstrip()
        else:
            cut = _GLUED.sub("", rest) if "#" in last or "＃" in last else rest
            if cut == rest:
                break
            rest = cut.rstrip()
    return rest or text


def _cut(tail: re.Pattern[str], text: str) -> str:
    """A caption without a tail that the pattern finds in its last characters."""
    if len(text) > LONGEST_CAPTION:
        return text
    start = max(0, len(text) - _TAIL)
    found = tail.search(text, start)
    if found is None or not found.start():
        return text
    end = found.start() + (text[found.start()] == ".")  # a sentence before a credit keeps its full stop
    return text[:end].rstrip(_DANGLING)


def _unmarked(text: str, caption: bool) -> str:
    """Tags out, entities decoded. An entity that spells a tag is markup in a caption, and the topic of a text."""
    if caption:
        text = stripped(unescaped(text, 3))
    else:
        text = unescaped(stripped(text), 1)
    return clean(text.encode("utf-8", "surrogatepass"))[0] or ""


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
