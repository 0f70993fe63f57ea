"""A title and a story of three sentences for a scene, in four languages."""

from __future__ import annotations

from pipeline.gallery import words
from pipeline.gallery.grammar import BACKGROUNDS, RELATIONS, Group
from pipeline.gallery.questions import SIDES
from pipeline.gallery.words import Described

OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
EN_THERE = {"left": "To the left", "right": "To the right", "top": "Above", "bottom": "Below"}
FR_THERE = {"left": "À gauche", "right": "À droite", "top": "Au-dessus", "bottom": "Au-dessous"}
DE_THERE = {"left": "Links davon", "right": "Rechts davon", "top": "Darüber", "bottom": "Darunter"}
ZH_THERE = {"left": "左边", "right": "右边", "top": "上方", "bottom": "下方"}
ENDINGS = {
    "en": (
        "Every evening there was singing.",
        "Nobody ever felt alone there.",
        "When the wind came, everything stayed in its place.",
        "In the morning there was bread for all.",
    ),
    "fr": (
        "Chaque soir, on y chantait.",
        "Personne ne s'y sentait jamais seul.",
        "Quand le vent venait, tout restait à sa place.",
        "Le matin, il y avait du pain pour tous.",
    ),
    "de": (
        "Jeden Abend wurde dort gesungen.",
        "Niemand fühlte sich dort je allein.",
        "Wenn der Wind kam, blieb alles an seinem Platz.",
        "Am Morgen gab es Brot für alle.",
    ),
    "zh": (
        "每天晚上那里都有歌声。",
        "那里从来没有人感到孤单。",
        "风来的时候，一切都留在原处。",
        "早上大家都有面包。",
    ),
}


def story(scene: Described, lang: str = "en") -> tuple[str, str]:
    """(title, story). The first two sentences tell what is seen; the last is chosen by it."""
    title, opening, second = TOLD[lang](scene)
    turn = sum(group.count for group in scene.groups) + BACKGROUNDS.index(scene.background)
    if scene.relation is not None:
        turn += RELATIONS.index(scene.relation)
    sentences = [opening, *([second] if second else []), ENDINGS[lang][turn % 4]]
    return title, ("" if lang == "zh" else " ").join(sentences)


def other_side(scene: Described) -> str:
    """Where the second group is, seen from the first."""
    return OPPOSITE[SIDES[str(scene.relation)]]


def bare(group: Group) -> Group:
    return Group(group.count, "plain", group.colour, group.shape)


def told_en(scene: Described) -> tuple[str, str, str]:
    names = [words.en_group(bare(group)) for group in scene.groups]
    first, *rest = (words.en_group(group) for group in scene.groups)
    second = f"{EN_THERE[other_side(scene)]} lived {rest[0]}." if rest else ""
    title = " and ".join(names)
    return title[0].upper() + title[1:], f"In a {scene.background} land lived {first}.", second


def told_fr(scene: Described) -> tuple[str, str, str]:
    names = [words.fr_group(bare(group)) for group in scene.groups]
    lived = ["vivaient" if group.count > 1 else "vivait" for group in scene.groups]
    first, *rest = (words.fr_group(group) for group in scene.groups)
    second = f"{FR_THERE[other_side(scene)]} {lived[1]} {rest[0]}." if rest else ""
    title = " et ".join(names)
    opening = f"Dans un pays {words.FR_BACKGROUNDS[scene.background]} {lived[0]} {first}."
    return title[0].upper() + title[1:], opening, second


def told_de(scene: Described) -> tuple[str, str, str]:
    names = [words.de_group(bare(group)) for group in scene.groups]
    lived = ["lebten" if group.count > 1 else "lebte" for group in scene.groups]
    first, *rest = (words.de_group(group) for group in scene.groups)
    second = f"{DE_THERE[other_side(scene)]} {lived[1]} {rest[0]}." if rest else ""
    title = " und ".join(names)
    opening = f"In einem {words.de_background(scene.background, 'en')} Land {lived[0]} {first}."
    return title[0].upper() + title[1:], opening, second


def told_zh(scene: Described) -> tuple[str, str, str]:
    names = [words.zh_group(bare(group)) for group in scene.groups]
    first, *rest = (words.zh_group(group) for group in scene.groups)
    second = f"{ZH_THERE[other_side(scene)]}住着{rest[0]}。" if rest else ""
    return "和".join(names), f"在{words.ZH_BACKGROUNDS[scene.background]}的国度里住着{first}。", second


TOLD = {"en": told_en, "fr": told_fr, "de": told_de, "zh": told_zh}
