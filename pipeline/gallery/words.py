"""Captions in four languages, and the way back from an English one."""

from __future__ import annotations

import re
from typing import Protocol

from pipeline.gallery.grammar import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, TEXTURES, Attributes, Group

LANGUAGES = ("en", "fr", "de", "zh")


class Described(Protocol):
    """A Scene or its Attributes."""

    @property
    def groups(self) -> tuple[Group, ...]: ...
    @property
    def relation(self) -> str | None: ...
    @property
    def background(self) -> str: ...


def caption(scene: Described, lang: str = "en") -> str:
    """The caption, exactly determined by what the picture shows. Raises KeyError for another language."""
    return CAPTIONS[lang](scene)


# English

EN_NUMBERS = ("no", "a", "two", "three", "four")


def en_noun(shape: str, count: int) -> str:
    return shape if count == 1 else shape + ("es" if shape == "cross" else "s")


def en_group(group: Group) -> str:
    """E.g. "two striped red circles", "an orange star"."""
    texture = [] if group.texture == "plain" else [group.texture]
    words = [*texture, group.colour, en_noun(group.shape, group.count)]
    number = EN_NUMBERS[group.count]
    return " ".join(["an" if number == "a" and words[0][0] in "aeiou" else number, *words])


def english(scene: Described) -> str:
    first, *second = (en_group(group) for group in scene.groups)
    related = f" {scene.relation} {second[0]}" if second else ""
    return f"{first}{related} on a {scene.background} background"


# French

FR_NUMBERS = (("aucun", "aucune"), ("un", "une"), ("deux", "deux"), ("trois", "trois"), ("quatre", "quatre"))
FR_SHAPES = {
    "circle": ("cercle", "cercles", False),
    "square": ("carré", "carrés", False),
    "triangle": ("triangle", "triangles", False),
    "star": ("étoile", "étoiles", True),
    "heart": ("cœur", "cœurs", False),
    "cross": ("croix", "croix", True),
}
"""Singular, plural, feminine."""
FR_COLOURS = {
    "red": ("rouge", "rouge"),
    "orange": ("orange", "orange"),
    "yellow": ("jaune", "jaune"),
    "green": ("vert", "verte"),
    "cyan": ("cyan", "cyan"),
    "blue": ("bleu", "bleue"),
    "purple": ("violet", "violette"),
    "brown": ("marron", "marron"),
}
FR_INVARIABLE = frozenset({"orange", "cyan", "brown"})
FR_BACKGROUNDS = {"white": "blanc", "grey": "gris", "black": "noir", "pink": "rose"}
FR_RELATIONS = {
    "left of": "à gauche",
    "right of": "à droite",
    "above": "au-dessus",
    "below": "au-dessous",
}


def fr_noun(shape: str, count: int) -> str:
    singular, plural, _ = FR_SHAPES[shape]
    return singular if count == 1 else plural


def fr_colour(group: Group) -> str:
    """Agrees with the noun: "vertes", but "orange" for any number."""
    plural = "s" if group.count > 1 and group.colour not in FR_INVARIABLE else ""
    return FR_COLOURS[group.colour][FR_SHAPES[group.shape][2]] + plural


def fr_group(group: Group) -> str:
    """E.g. "deux étoiles vertes rayées", "un cercle orange à pois"."""
    feminine = FR_SHAPES[group.shape][2]
    words = [FR_NUMBERS[group.count][feminine], fr_noun(group.shape, group.count), fr_colour(group)]
    if group.texture == "striped":
        words.append("rayé" + "e" * feminine + "s" * (group.count > 1))
    elif group.texture == "dotted":
        words.append("à pois")
    return " ".join(words)


def french(scene: Described) -> str:
    first, *second = (fr_group(group) for group in scene.groups)
    related = ""
    if second:
        of = "d'" if second[0].startswith("un") else "de "
        related = f" {FR_RELATIONS[str(scene.relation)]} {of}{second[0]}"
    return f"{first}{related} sur fond {FR_BACKGROUNDS[scene.background]}"


# German

DE_NUMBERS = ("kein", "ein", "zwei", "drei", "vier")
DE_SHAPES = {
    "circle": ("Kreis", "Kreise", "Kreisen", "m"),
    "square": ("Quadrat", "Quadrate", "Quadraten", "n"),
    "triangle": ("Dreieck", "Dreiecke", "Dreiecken", "n"),
    "star": ("Stern", "Sterne", "Sternen", "m"),
    "heart": ("Herz", "Herzen", "Herzen", "n"),
    "cross": ("Kreuz", "Kreuze", "Kreuzen", "n"),
}
"""Singular, plural, dative plural, gender."""
DE_COLOURS = {
    "red": "rot",
    "orange": "orangefarben",
    "yellow": "gelb",
    "green": "grün",
    "cyan": "cyanfarben",
    "blue": "blau",
    "purple": "violett",
    "brown": "braun",
}
DE_TEXTURES = {"striped": "gestreift", "dotted": "gepunktet"}
DE_BACKGROUNDS = {"white": "weiß", "grey": "grau", "black": "schwarz", "pink": "rosa"}
DE_RELATIONS = {"left of": "links von", "right of": "rechts von", "above": "über", "below": "unter"}
DE_ENDINGS = {
    ("nominative", "m"): ("ein", "er"),
    ("nominative", "n"): ("ein", "es"),
    ("accusative", "m"): ("einen", "en"),
    ("accusative", "n"): ("ein", "es"),
    ("dative", "m"): ("einem", "en"),
    ("dative", "n"): ("einem", "en"),
}
"""Article, and the ending of an adjective after it."""


def de_noun(shape: str, count: int, case: str = "nominative") -> str:
    return DE_SHAPES[shape][0 if count == 1 else 2 if case == "dative" else 1]


def de_group(group: Group, case: str = "nominative") -> str:
    """E.g. "zwei gestreifte rote Kreise", in the dative "einem gestreiften roten Kreis"."""
    if group.count == 1:
        number, ending = DE_ENDINGS[case, DE_SHAPES[group.shape][3]]
    else:
        number, ending = DE_NUMBERS[group.count], "en" if case == "dative" else "e"
    texture = [] if group.texture == "plain" else [DE_TEXTURES[group.texture] + ending]
    colour = DE_COLOURS[group.colour] + ending
    return " ".join([number, *texture, colour, de_noun(group.shape, group.count, case)])


def de_background(background: str, ending: str) -> str:
    """ "rosa" takes no ending."""
    return DE_BACKGROUNDS[background] + (ending if background != "pink" else "")


def german(scene: Described) -> str:
    related = ""
    if len(scene.groups) == 2:
        related = f" {DE_RELATIONS[str(scene.relation)]} {de_group(scene.groups[1], 'dative')}"
    return f"{de_group(scene.groups[0])}{related} auf {de_background(scene.background, 'em')} Hintergrund"


# Chinese

ZH_NUMBERS = ("零", "一", "两", "三", "四")
ZH_SHAPES = {
    "circle": ("个", "圆形"),
    "square": ("个", "正方形"),
    "triangle": ("个", "三角形"),
    "star": ("颗", "星星"),
    "heart": ("颗", "爱心"),
    "cross": ("个", "十字"),
}
"""Measure word, noun."""
ZH_COLOURS = {
    "red": "红色",
    "orange": "橙色",
    "yellow": "黄色",
    "green": "绿色",
    "cyan": "青色",
    "blue": "蓝色",
    "purple": "紫色",
    "brown": "棕色",
}
ZH_TEXTURES = {"plain": "", "striped": "带条纹的", "dotted": "带圆点的"}
ZH_BACKGROUNDS = {"white": "白色", "grey": "灰色", "black": "黑色", "pink": "粉色"}
ZH_RELATIONS = {"left of": "左边", "right of": "右边", "above": "上方", "below": "下方"}


def zh_group(group: Group) -> str:
    """E.g. "两颗带条纹的红色星星"."""
    measure, noun = ZH_SHAPES[group.shape]
    return f"{ZH_NUMBERS[group.count]}{measure}{ZH_TEXTURES[group.texture]}{ZH_COLOURS[group.colour]}{noun}"


def chinese(scene: Described) -> str:
    first, *second = (zh_group(group) for group in scene.groups)
    ground = f"{ZH_BACKGROUNDS[scene.background]}背景上"
    if not second:
        return f"{ground}有{first}"
    return f"{ground}，{first}在{second[0]}的{ZH_RELATIONS[str(scene.relation)]}"


CAPTIONS = {"en": english, "fr": french, "de": german, "zh": chinese}


# Back from English


def _one_of(words: tuple[str, ...]) -> str:
    return f"({'|'.join(words)})"


_NOUNS = {en_noun(shape, count): shape for shape in SHAPES for count in (1, 2)}
_GROUP = rf"(an?|two|three|four) (?:{_one_of(TEXTURES[1:])} )?{_one_of(COLOURS)} {_one_of(tuple(_NOUNS))}"
_CAPTION = re.compile(rf"{_GROUP}(?: {_one_of(RELATIONS)} {_GROUP})? on a {_one_of(BACKGROUNDS)} background")


def parse(text: str) -> Attributes | None:
    """What an English caption says, or None if it is no sentence of the grammar."""
    match = _CAPTION.fullmatch(text.strip())
    if match is None:
        return None
    words = match.groups()
    groups = [_group(words[:4])] + ([_group(words[5:9])] if words[4] else [])
    attributes = Attributes(tuple(groups), words[4], words[9])
    return attributes if english(attributes) == text.strip() else None


def _group(words: tuple[str, ...]) -> Group:
    number, texture, colour, noun = words
    return Group(EN_NUMBERS.index(number.replace("an", "a")), texture or "plain", colour, _NOUNS[noun])
