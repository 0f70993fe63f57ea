"""Captions in four languages, and the way back from an English one."""

from __future__ import annotations

import re
from typing import Protocol

from pipeline.gallery.grammar import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, TEXTURES, Attributes, Group

LANGUAGES = ("en", "fr", "de", "zh")
NUMBERS = ("", "a", "two", "three", "four")


class Described(Protocol):
    """A Scene or its Attributes."""

    @property
    def groups(self) -> tuple[Group, ...]: ...
    @property
    def relation(self) -> str | None: ...
    @property
    def background(self) -> str: ...


def plural(shape: str) -> str:
    return shape + ("es" if shape == "cross" else "s")


def english_group(group: Group) -> str:
    """E.g. "two striped red circles", "an orange star"."""
    words = [] if group.texture == "plain" else [group.texture]
    words += [group.colour, group.shape if group.count == 1 else plural(group.shape)]
    number = NUMBERS[group.count]
    if number == "a" and words[0][0] in "aeiou":
        number = "an"
    return " ".join([number, *words])


def english(scene: Described) -> str:
    parts = [english_group(scene.groups[0])]
    if len(scene.groups) == 2:
        parts += [str(scene.relation), english_group(scene.groups[1])]
    return " ".join([*parts, "on a", scene.background, "background"])


def caption(scene: Described, lang: str = "en") -> str:
    """The caption, exactly determined by what the picture shows. Raises KeyError for another language."""
    return {"en": english}[lang](scene)


def one_of(words: tuple[str, ...]) -> str:
    return f"({'|'.join(words)})"


_GROUP = (
    rf"(an?|two|three|four) (?:{one_of(TEXTURES[1:])} )?{one_of(COLOURS)} "
    rf"{one_of(tuple(plural(s) for s in SHAPES) + SHAPES)}"
)
_CAPTION = re.compile(rf"{_GROUP}(?: {one_of(RELATIONS)} {_GROUP})? on a {one_of(BACKGROUNDS)} background")


def parse(text: str) -> Attributes | None:
    """What an English caption says, or None if the grammar has no such sentence."""
    match = _CAPTION.fullmatch(text.strip())
    if match is None:
        return None
    found = match.groups()
    groups = [_group(found[0:4])] + ([_group(found[5:9])] if found[4] else [])
    attributes = Attributes(tuple(groups), found[4], found[9])
    return attributes if english(attributes) == text.strip() else None


def _group(words: tuple[str, ...]) -> Group:
    number, texture, colour, noun = words
    count = 1 if number == "an" else NUMBERS.index(number)
    shape = next(s for s in SHAPES if noun in (s, plural(s)))
    return Group(count, texture or "plain", colour, shape)
