"""Texts of evaluation sets in training rows: runs of words, whole short texts, chosen sets; held to brute force."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import numpy as np
import pytest

from pipeline.gathers.decontaminate import CONTAMINATED, NEAR, Decontaminate

WORDS = [f"word{i}" for i in range(40)]


def text(*numbers: int) -> str:
    return " ".join(WORDS[i] for i in numbers)


def dropped(corpus: Any, **settings: Any) -> dict[str, tuple[str, str]]:
    """sample_id to (reason, the held-out row) of what goes."""
    verdicts = corpus.run(Decontaminate(**settings))
    return {sample: (reason, held) for sample, (kept, reason, held) in verdicts.items() if not kept}


def test_thirteen_words_in_a_row_are_a_leak_and_twelve_are_none(corpus) -> None:
    corpus.sample("held", None, text(*range(30)), held_out=True, task="text")
    corpus.sample("thirteen", None, text(39, *range(5, 18), 38), task="text")
    corpus.sample("twelve", None, text(39, *range(5, 17), 38), task="text")
    corpus.sample("apart", None, text(*range(5, 11), 39, *range(11, 18)), task="text")
    assert dropped(corpus) == {"thirteen": (NEAR, "held")}


def test_case_punctuation_and_space_do_not_count(corpus) -> None:
    corpus.sample(
        "held", None, "It was the best of times, it was the worst of times; it was an age.", held_out=True
    )
    corpus.sample("same", None, "He read: “IT WAS the best of times — it was the worst\nof times. It was…”")
    corpus.sample("other", None, "It was the best of books, it was the worst of films, and it was an age.")
    assert dropped(corpus) == {"same": (NEAR, "held")}


def test_letters_of_scripts_without_spaces_are_words(corpus) -> None:
    corpus.sample("held", None, "从前有一个红色的圆形住在一座高高的山上。", held_out=True)
    corpus.sample("leak", None, "他说：有一个红色的圆形住在一座高高的树旁", task="text")
    corpus.sample("clean", None, "从前有一个绿色的方形住在一条长长的河边。", task="text")
    assert dropped(corpus) == {"leak": (NEAR, "held")}


def test_a_short_held_out_text_must_be_contained_whole(corpus) -> None:
    corpus.sample("nine", None, text(*range(9)), held_out=True)
    corpus.sample("five", None, text(*range(20, 25)), held_out=True)
    corpus.sample("contains", None, text(30, *range(9), 31))
    corpus.sample("part", None, text(30, *range(8), 31))
    corpus.sample("contains five", None, text(30, *range(20, 25), 31))
    corpus.sample("equals five", None, text(*range(20, 25)))
    assert dropped(corpus) == {"contains": (NEAR, "nine"), "equals five": (CONTAMINATED, "five")}


def test_captions_are_compared_only_when_asked_for(corpus) -> None:
    for name in ("p", "q"):
        corpus.picture(name, np.random.default_rng(ord(name)).integers(0, 255, (32, 32, 3), "uint8"))
    corpus.sample("held", "p", text(*range(14)), held_out=True)
    corpus.sample("caption", "q", text(*range(14)))
    corpus.sample("story", None, text(*range(14)))
    assert dropped(corpus) == {}
    corpus.db.execute("DELETE FROM decisions WHERE stage = 'decontaminate'")
    assert dropped(corpus, captions=True) == {"caption": (NEAR, "held"), "story": (NEAR, "held")}


def test_only_the_named_sets_are_guarded(corpus) -> None:
    corpus.sample("one", None, text(*range(15)), held_out=True, source="exam")
    corpus.sample("two", None, text(*range(20, 35)), held_out=True, source="quiz")
    corpus.sample("as in exam", None, text(*range(15)))
    corpus.sample("as in quiz", None, text(*range(20, 35)))
    assert dropped(corpus, sets=("quiz",)) == {"as in quiz": (CONTAMINATED, "two")}


@pytest.mark.parametrize("seed", range(4))
def test_by_brute_force(corpus, seed: int) -> None:
    draw = Random(seed)
    held = [[draw.randrange(4) for _ in range(draw.randint(1, 12))] for _ in range(12)]
    rows = [[draw.randrange(4) for _ in range(draw.randint(1, 12))] for _ in range(60)]
    for i, numbers in enumerate(held):
        corpus.sample(f"held{i}", None, text(*numbers), held_out=True)
    for i, numbers in enumerate(rows):
        corpus.sample(f"row{i}", None, text(*numbers))

    def leaks(row: list[int]) -> bool:
        """Every run of 6 of a held-out text, or all of one that has 4 or 5, and whole texts."""
        there = [one for one in held if len(one) >= 4]
        needles = [one[at : at + 6] for one in there for at in range(max(1, len(one) - 5))]
        inside = [row[at : at + len(n)] == n for n in needles for at in range(len(row) - len(n) + 1)]
        return any(inside) or (row in held and len(text(*row)) > 8)

    expected = {f"row{i}" for i, row in enumerate(rows) if leaks(row)}
    found = dropped(corpus, words=6, least_words=4)
    assert set(found) == expected and 0 < len(expected) < len(rows)
    assert all(re.fullmatch(r"held\d+", by) for _, by in found.values())
