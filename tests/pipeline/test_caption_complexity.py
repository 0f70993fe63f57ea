"""Things and relations are counted as people would, in each language that has lists."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from pipeline.annotators.caption_complexity import CaptionComplexity, content, measured
from pipeline.gallery.scene import draw_attributes
from pipeline.gallery.words import caption


@pytest.mark.parametrize(
    ("text", "lang", "things", "relations"),
    [
        ("sunset", "en", 1, 0),
        ("a red barn in a green field", "en", 2, 1),
        ("A man in a red hat rides across the river near the old mill.", "en", 4, 3),
        ("a cat, a dog, a horse", "en", 3, 0),
        ("and the of in", "en", 0, 0),
        ("Un chien noir dans un champ vert", "fr", 2, 1),
        ("L'arbre près de l'église", "fr", 2, 1),
        ("Ein roter Kreis über zwei blauen Sternen", "de", 2, 1),
        ("Un gato sobre la mesa", "es", 2, 1),
        ("Kot na stole obok okna", "pl", 3, 2),
        ("一个红色的苹果在桌子上", "zh", 2, 1),
        ("机の上に赤いリンゴがある", "ja", 2, 1),
        ("nyumba nyekundu", "sw", None, None),
        ("", "en", 0, 0),
    ],
)
def test_things_and_relations(text: str, lang: str, things: int | None, relations: int | None):
    assert content(text, lang) == (things, relations)


@pytest.mark.parametrize("lang", ["en", "de", "zh"])
def test_planted_scenes_have_as_many_things_as_they_show(lang: str):
    rng = random.Random(7)
    for _ in range(300):
        scene = draw_attributes(rng)  # a group or two, one beside the other, and on a background
        assert content(caption(scene, lang), lang) == (len(scene.groups) + 1, len(scene.groups))


def test_words():
    assert measured("The cat and the hat", "en")[:3] == (5, 0.8, 3.0)
    assert measured("二二三", "zh")[:3] == (3, pytest.approx(2 / 3), 1.0)
    assert measured("!!", "en") == (0, None, None, 0, 0)


def test_vowel_signs_and_accents_belong_to_their_word():
    assert measured("हिन्दी में एक बिल्ली", "hi")[0] == 4
    assert measured("un cafe\u0301 noir", "fr")[:4] == (3, 1.0, 11 / 3, 1)
    assert measured("a well-known ไทย", "en")[0] == 5  # each character, where no spaces are written


def test_columns_and_the_language_that_counts():
    rows = pa.table(
        {
            "sample_id": ["a", "b", "c", "d"],
            "text": [
                "a cat on a mat",
                "Ein roter Kreis liegt über zwei blauen Sternen",
                None,
                "a cat on a mat",
            ],
            "lang": pa.array(["en-GB", None, "en", "sw"], pa.string()),
        }
    )
    made = CaptionComplexity().annotate(rows, {})
    assert made.select(CaptionComplexity.columns.names).schema.types == CaptionComplexity.columns.types
    assert made["relations"].to_pylist() == [1, 1, None, None]
    assert made["words"].to_pylist() == [5, 8, None, 5]
    assert CaptionComplexity(detect=False).annotate(rows, {})["relations"].to_pylist() == [
        1,
        None,
        None,
        None,
    ]
    assert CaptionComplexity().annotate(rows.slice(0, 0), {}).num_rows == 0
