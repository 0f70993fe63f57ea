"""Texts that repeat themselves go; prose, poems with a refrain and short texts stay."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.filters.repetition import Repetition, share_of_commonest, share_repeated

PROSE = (
    "The mill stands by the river, and its wheel turns day and night. Bread is made from the flour that it grinds; the miller's"
    " daughter carries it to the market, where people from three villages meet on Saturdays and talk about the weather."
)
ZH = (
    "磨坊坐落在河边，它的轮子日夜转动。"
    "磨出的面粉用来烤面包，磨坊主的女儿把它带到集市上，三个村庄的人们每逢周六在那里相聚，谈论天气。"
)


@pytest.mark.parametrize(
    "text", [PROSE, ZH, "too short too short too short", f"{PROSE}\nLa la.\n{ZH}\nLa la.", ""]
)
def test_what_does_not_repeat_stays(text: str):
    assert not Repetition().repeats(text)


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(["Home", "Contact", "Home", "Contact", "Home", "Contact"]),  # lines
        " ".join(f"buy now word{n}" for n in range(40)),  # a pair of words
        " ".join([PROSE] * 2),  # long runs
        ZH * 2,
        "the same old thing " * 15,
    ],
)
def test_what_repeats_goes(text: str):
    assert Repetition().repeats(text)


def test_shares_by_hand():
    words = ["a", "b", "c", "a", "b", "d"]
    assert share_of_commonest(words, 2, 6) == pytest.approx(4 / 6)
    assert share_of_commonest(["a", "b", "c"], 2, 3) == 0
    assert share_repeated(words, 2, 6) == pytest.approx(2 / 6)
    assert share_repeated(["a", "a", "a", "a"], 2, 4) == pytest.approx(3 / 4)


def test_only_its_tasks_are_judged():
    rows = pa.table({"task": ["text", "caption", "text"], "text": [PROSE * 3, PROSE * 3, None]})
    assert Repetition().keep(rows).to_pylist() == [False, True, True]


def test_hindi_is_counted_in_words_not_in_consonants():
    text = "हिन्दी में एक बिल्ली " * 3  # 12 words; 24, if vowel signs ended them
    assert not Repetition(min_words=13).repeats(text)
    assert Repetition(min_words=12).repeats(text)
