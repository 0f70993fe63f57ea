"""Questions about a scene with their answers, in four languages."""

from __future__ import annotations

from pipeline.gallery import words
from pipeline.gallery.grammar import COLOURS, UNSEEN, Group
from pipeline.gallery.words import Described

QA = tuple[str, str]

SIDES = {"left of": "left", "right of": "right", "above": "top", "below": "bottom"}
EN_SIDES = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}
FR_SIDES = {"left": "à gauche", "right": "à droite", "top": "en haut", "bottom": "en bas"}
DE_SIDES = {"left": "links", "right": "rechts", "top": "oben", "bottom": "unten"}
ZH_SIDES = {"left": "左边", "right": "右边", "top": "上方", "bottom": "下方"}
EN_PATTERNS = {"plain": "none", "striped": "stripes", "dotted": "dots"}
FR_PATTERNS = {"plain": "aucun", "striped": "des rayures", "dotted": "des pois"}
DE_PATTERNS = {"plain": "keines", "striped": "Streifen", "dotted": "Punkte"}
ZH_PATTERNS = {"plain": "没有花纹", "striped": "条纹", "dotted": "圆点"}


def questions(scene: Described, lang: str = "en") -> list[QA]:
    """(question, answer) pairs that the picture alone decides; no question comes twice."""
    ask = ASKED[lang]
    asked = [ask["total"](sum(group.count for group in scene.groups)), ask["background"](scene.background)]
    asked += [ask["shape"](group) for group in scene.groups]
    for group in scene.groups:
        if sum(other.shape == group.shape for other in scene.groups) == 1:
            asked += [ask[kind](group) for kind in ("colour", "pattern", "count")]
    if scene.relation is not None:
        asked += [ask["side"](SIDES[scene.relation], scene.groups[0])]
    asked += [ask["there"](Group(1, "plain", group.colour, group.shape), True) for group in scene.groups]
    asked += [ask["there"](absent, False) for absent in missing(scene)]
    return asked


def missing(scene: Described) -> list[Group]:
    """What is not there, but nearly is: each group's shape in the next colour that is free."""
    shown = {(group.colour, group.shape) for group in scene.groups}
    found = []
    for group in scene.groups:
        start = COLOURS.index(group.colour)
        for step in range(1, len(COLOURS)):
            pair = (COLOURS[(start + step) % len(COLOURS)], group.shape)
            if pair not in shown and pair not in UNSEEN:
                shown.add(pair)
                found.append(Group(1, "plain", *pair))
                break
    return found


# Each language: questions by kind. The wording agrees with the number that is seen, as a speaker's would.


def _en(group: Group) -> tuple[str, bool]:
    return words.en_noun(group.shape, group.count), group.count > 1


def en_colour(group: Group) -> QA:
    noun, many = _en(group)
    return f"What colour {'are' if many else 'is'} the {noun}?", group.colour


def en_pattern(group: Group) -> QA:
    noun, many = _en(group)
    return f"What pattern {'do' if many else 'does'} the {noun} have?", EN_PATTERNS[group.texture]


def en_count(group: Group) -> QA:
    return f"How many {words.en_noun(group.shape, 2)} are there?", en_number(group.count)


def en_number(count: int) -> str:
    return "one" if count == 1 else words.EN_NUMBERS[count]


def en_there(group: Group, yes: bool) -> QA:
    return f"Is there {words.en_group(group)}?", "yes" if yes else "no"


FR_THE = {
    "circle": "le cercle",
    "square": "le carré",
    "triangle": "le triangle",
    "star": "l'étoile",
    "heart": "le cœur",
    "cross": "la croix",
}


def _fr(group: Group) -> tuple[str, bool]:
    many = group.count > 1
    return f"les {words.fr_noun(group.shape, 2)}" if many else FR_THE[group.shape], many


def fr_colour(group: Group) -> QA:
    noun, many = _fr(group)
    return f"De quelle couleur {'sont' if many else 'est'} {noun} ?", words.fr_colour(group)


def fr_pattern(group: Group) -> QA:
    noun, many = _fr(group)
    return f"Quel motif {'ont' if many else 'a'} {noun} ?", FR_PATTERNS[group.texture]


def fr_count(group: Group) -> QA:
    noun = words.fr_noun(group.shape, 2)
    of = "d'" if noun.startswith("é") else "de "
    feminine = words.FR_SHAPES[group.shape][2]
    return f"Combien {of}{noun} y a-t-il ?", words.FR_NUMBERS[group.count][feminine]


def fr_there(group: Group, yes: bool) -> QA:
    return f"Y a-t-il {words.fr_group(group)} ?", "oui" if yes else "non"


def _de(group: Group) -> tuple[str, bool]:
    article = {"m": "der", "n": "das"}[words.DE_SHAPES[group.shape][3]]
    many = group.count > 1
    return f"{'die' if many else article} {words.de_noun(group.shape, group.count)}", many


def de_colour(group: Group) -> QA:
    noun, many = _de(group)
    return f"Welche Farbe {'haben' if many else 'hat'} {noun}?", words.DE_COLOURS[group.colour]


def de_pattern(group: Group) -> QA:
    noun, many = _de(group)
    return f"Welches Muster {'haben' if many else 'hat'} {noun}?", DE_PATTERNS[group.texture]


def de_count(group: Group) -> QA:
    one = {"m": "einen", "n": "eines"}[words.DE_SHAPES[group.shape][3]]
    answer = one if group.count == 1 else words.DE_NUMBERS[group.count]
    return f"Wie viele {words.de_noun(group.shape, 2)} gibt es?", answer


def de_there(group: Group, yes: bool) -> QA:
    return f"Gibt es {words.de_group(group, 'accusative')}?", "ja" if yes else "nein"


def zh_count(group: Group) -> QA:
    measure, noun = words.ZH_SHAPES[group.shape]
    return f"有几{measure}{noun}？", words.ZH_NUMBERS[group.count] + measure


def zh_there(group: Group, yes: bool) -> QA:
    noun = words.ZH_SHAPES[group.shape][1]
    return f"有{words.ZH_COLOURS[group.colour]}的{noun}吗？", "有" if yes else "没有"


ASKED: dict[str, dict] = {
    "en": {
        "total": lambda n: ("How many shapes are there?", en_number(n)),
        "background": lambda b: ("What colour is the background?", b),
        "side": lambda side, g: (f"Which shape is {EN_SIDES[side]}?", g.shape),
        "shape": lambda g: (f"Which shape is {g.colour}?", g.shape),
        "colour": en_colour,
        "pattern": en_pattern,
        "count": en_count,
        "there": en_there,
    },
    "fr": {
        "total": lambda n: ("Combien de formes y a-t-il ?", words.FR_NUMBERS[n][True]),
        "background": lambda b: ("De quelle couleur est le fond ?", words.FR_BACKGROUNDS[b]),
        "side": lambda side, g: (f"Quelle forme est {FR_SIDES[side]} ?", words.fr_noun(g.shape, 1)),
        "shape": lambda g: (
            f"Quelle forme est {words.FR_COLOURS[g.colour][True]} ?",
            words.fr_noun(g.shape, 1),
        ),
        "colour": fr_colour,
        "pattern": fr_pattern,
        "count": fr_count,
        "there": fr_there,
    },
    "de": {
        "total": lambda n: ("Wie viele Formen gibt es?", "eine" if n == 1 else words.DE_NUMBERS[n]),
        "background": lambda b: ("Welche Farbe hat der Hintergrund?", words.DE_BACKGROUNDS[b]),
        "side": lambda side, g: (f"Welche Form ist {DE_SIDES[side]}?", words.de_noun(g.shape, 1)),
        "shape": lambda g: (f"Welche Form ist {words.DE_COLOURS[g.colour]}?", words.de_noun(g.shape, 1)),
        "colour": de_colour,
        "pattern": de_pattern,
        "count": de_count,
        "there": de_there,
    },
    "zh": {
        "total": lambda n: ("一共有几个图形？", words.ZH_NUMBERS[n] + "个"),
        "background": lambda b: ("背景是什么颜色？", words.ZH_BACKGROUNDS[b]),
        "side": lambda side, g: (f"{ZH_SIDES[side]}是什么形状？", words.ZH_SHAPES[g.shape][1]),
        "shape": lambda g: (f"{words.ZH_COLOURS[g.colour]}的是什么形状？", words.ZH_SHAPES[g.shape][1]),
        "colour": lambda g: (f"{words.ZH_SHAPES[g.shape][1]}是什么颜色？", words.ZH_COLOURS[g.colour]),
        "pattern": lambda g: (f"{words.ZH_SHAPES[g.shape][1]}有什么花纹？", ZH_PATTERNS[g.texture]),
        "count": zh_count,
        "there": zh_there,
    },
}
