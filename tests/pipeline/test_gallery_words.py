"""Captions, questions and stories: grammatical in four languages, and English ones can be read back."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.gallery.grammar import (
    BACKGROUNDS,
    COLOURS,
    PAIRS,
    RELATIONS,
    SHAPES,
    TEXTURES,
    Attributes,
    Group,
)
from pipeline.gallery.questions import questions
from pipeline.gallery.scene import caption, parse, recoloured, sample
from pipeline.gallery.stories import story
from pipeline.gallery.words import LANGUAGES


@st.composite
def attributes(draw) -> Attributes:
    def group(count, colour):
        return Group(count, draw(st.sampled_from(TEXTURES)), colour, draw(st.sampled_from(SHAPES)))

    background = draw(st.sampled_from(BACKGROUNDS))
    if draw(st.booleans()):
        return Attributes((group(draw(st.integers(1, 4)), draw(st.sampled_from(COLOURS))),), None, background)
    colours = sorted(draw(st.sets(st.sampled_from(COLOURS), min_size=2, max_size=2)), key=COLOURS.index)
    groups = tuple(group(*pair) for pair in zip(draw(st.sampled_from(PAIRS)), colours, strict=True))
    return Attributes(groups, draw(st.sampled_from(RELATIONS)), background)


@given(attributes())
def test_an_english_caption_says_all_and_can_be_read_back(what):
    assert parse(caption(what)) == what


@given(st.text())
def test_any_other_text_reads_as_nothing(text):
    assert parse(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "two red circle on a grey background",
        "a orange star on a grey background",
        "a red circle on a grey background and more",
        "a red circle left of on a grey background",
        "five red circles on a grey background",
        "two red crosss on a grey background",
        "",
    ],
)
def test_nearly_captions_read_as_nothing(text):
    assert parse(text) is None


@given(attributes(), attributes(), st.sampled_from(LANGUAGES))
def test_different_scenes_have_different_captions_in_every_language(a, b, lang):
    assert (caption(a, lang) == caption(b, lang)) == (a == b)


def test_an_unknown_language_is_an_error():
    with pytest.raises(KeyError):
        caption(sample(0, 0), "xx")


A = Attributes((Group(2, "striped", "red", "circle"), Group(1, "plain", "blue", "star")), "above", "grey")
B = Attributes(
    (Group(1, "dotted", "orange", "cross"), Group(3, "striped", "green", "star")), "left of", "pink"
)
C = Attributes((Group(3, "plain", "purple", "cross"),), None, "white")
D = Attributes((Group(1, "striped", "brown", "square"),), None, "black")
E = Attributes(
    (Group(1, "plain", "yellow", "heart"), Group(1, "striped", "purple", "cross")), "right of", "white"
)


@pytest.mark.parametrize(
    ("scene", "lang", "expected"),
    [
        (A, "en", "two striped red circles above a blue star on a grey background"),
        (A, "fr", "deux cercles rouges rayés au-dessus d'une étoile bleue sur fond gris"),
        (A, "de", "zwei gestreifte rote Kreise über einem blauen Stern auf grauem Hintergrund"),
        (A, "zh", "灰色背景上，两个带条纹的红色圆形在一颗蓝色星星的上方"),
        (B, "en", "a dotted orange cross left of three striped green stars on a pink background"),
        (B, "fr", "une croix orange à pois à gauche de trois étoiles vertes rayées sur fond rose"),
        (B, "de", "ein gepunktetes orangefarbenes Kreuz links von drei gestreiften grünen Sternen "
         "auf rosa Hintergrund"),
        (B, "zh", "粉色背景上，一个带圆点的橙色十字在三颗带条纹的绿色星星的左边"),
        (C, "en", "three purple crosses on a white background"),
        (C, "fr", "trois croix violettes sur fond blanc"),
        (C, "de", "drei violette Kreuze auf weißem Hintergrund"),
        (C, "zh", "白色背景上有三个紫色十字"),
        (D, "en", "a striped brown square on a black background"),
        (D, "fr", "un carré marron rayé sur fond noir"),
        (D, "de", "ein gestreiftes braunes Quadrat auf schwarzem Hintergrund"),
        (D, "zh", "黑色背景上有一个带条纹的棕色正方形"),
        (E, "fr", "un cœur jaune à droite d'une croix violette rayée sur fond blanc"),
        (E, "de", "ein gelbes Herz rechts von einem gestreiften violetten Kreuz auf weißem Hintergrund"),
    ],
)  # fmt: skip
def test_captions_are_grammatical(scene, lang, expected):
    assert caption(scene, lang) == expected


def test_an_stands_before_orange_only():
    for texture, start in (("plain", "an orange star "), ("dotted", "a dotted orange star ")):
        assert caption(Attributes((Group(1, texture, "orange", "star"),), None, "black")).startswith(start)


@pytest.mark.parametrize(
    ("scene", "lang", "pair"),
    [
        (A, "en", ("What colour are the circles?", "red")),
        (A, "en", ("How many shapes are there?", "three")),
        (A, "en", ("Which shape is at the top?", "circle")),
        (A, "en", ("How many stars are there?", "one")),
        (A, "fr", ("De quelle couleur est l'étoile ?", "bleue")),
        (B, "fr", ("De quelle couleur sont les étoiles ?", "vertes")),
        (B, "fr", ("Combien d'étoiles y a-t-il ?", "trois")),
        (B, "fr", ("Combien de croix y a-t-il ?", "une")),
        (A, "de", ("Welche Farbe hat der Stern?", "blau")),
        (A, "de", ("Gibt es einen blauen Stern?", "ja")),
        (A, "de", ("Wie viele Sterne gibt es?", "einen")),
        (B, "de", ("Welches Muster haben die Sterne?", "Streifen")),
        (B, "zh", ("有几颗星星？", "三颗")),
        (D, "en", ("Is there a red square?", "no")),
    ],
)
def test_questions_have_their_answers(scene, lang, pair):
    assert pair in questions(scene, lang)


@given(attributes(), st.sampled_from(LANGUAGES))
def test_no_question_comes_twice_and_each_has_an_answer(what, lang):
    asked = questions(what, lang)
    assert len({question for question, _ in asked}) == len(asked)
    assert all(answer for _, answer in asked)


@given(attributes())
def test_no_and_yes_are_asked_equally_often(what):
    answers = [answer for question, answer in questions(what) if question.startswith("Is there")]
    assert answers.count("yes") == answers.count("no") == len(what.groups)


def test_stories_tell_what_is_seen():
    assert story(A) == (
        "Two red circles and a blue star",
        "In a grey land lived two striped red circles. Below lived a blue star. "
        "When the wind came, everything stayed in its place.",
    )
    assert story(B, "de")[1].startswith(
        "In einem rosa Land lebte ein gepunktetes orangefarbenes Kreuz. "
        "Rechts davon lebten drei gestreifte grüne Sterne."
    )
    assert story(C, "fr")[1].startswith("Dans un pays blanc vivaient trois croix violettes.")
    assert story(D, "zh")[1].startswith("在黑色的国度里住着一个带条纹的棕色正方形。")


@given(st.integers(0, 10**6))
def test_recoloured_scenes_keep_their_layout_and_need_another_caption(index):
    scene = sample(5, index)
    other = recoloured(scene, random.Random(index))
    places = {(p.x, p.y, p.size): scene.groups[p.group] for p in scene.objects}
    assert {(p.x, p.y, p.size) for p in other.objects} == set(places)
    for placed in other.objects:
        now, before = other.groups[placed.group], places[placed.x, placed.y, placed.size]
        assert now.colour != before.colour and (now.shape, now.texture) == (before.shape, before.texture)
    order = [COLOURS.index(g.colour) for g in other.groups]
    assert order == sorted(order)
    assert caption(other) != caption(scene) and not other.unseen
