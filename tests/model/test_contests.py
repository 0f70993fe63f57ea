"""Two answerers on the same items: the gain is counted for scores of any kind, and what is chance is not taken for a gain."""

from __future__ import annotations

import pytest

from model import measures
from model.compare import contests
from model.evaluate import Score
from model.outcome import Asked, Outcome, worst


def outcome(said: list[str], right: list[str], **groups: str) -> Outcome:
    asked = [Asked(f"s{i}", "en", text, subsets=(groups.get("group", ""),)) for i, text in enumerate(right)]
    found = {"exact": measures.exact(said, right), "chrf": measures.chrf(said, right)}
    trivial = [right[0]] * len(right)
    return Outcome(
        "title", asked, said, found, "most_frequent", {"exact": measures.exact(trivial, right)}, trivial
    )


RIGHT = ["a red star", "a blue heart", "two green crosses", "a cat"] * 10


def test_a_better_one_is_better_beyond_chance() -> None:
    worse, better = outcome(["a red star"] * 40, RIGHT), outcome(RIGHT, RIGHT)
    found = {one.metric: one for one in contests(worse, better) if one.subset == "all"}
    assert found["exact"].before == 0.25 and found["exact"].after == 1
    assert found["exact"].low > 0 and found["exact"].p < 0.01
    assert found["exact"].trivial == 0.25
    assert found["chrf"].gain > 10 and found["chrf"].low > 0


def test_the_same_answers_are_no_gain_and_one_item_is_no_proof() -> None:
    one = outcome(RIGHT, RIGHT)
    assert {(c.gain, c.p) for c in contests(one, one)} == {(0, 1)}
    nearly = outcome(["a dog", *RIGHT[1:]], RIGHT)
    found = next(c for c in contests(nearly, one) if c.metric == "exact")
    assert found.gain > 0 and found.p > 0.05


def test_other_items_are_refused() -> None:
    with pytest.raises(ValueError, match="the same items"):
        contests(outcome(RIGHT, RIGHT), outcome(RIGHT[:-1], RIGHT[:-1]))


def test_scores_stand_beside_the_baselines_and_each_item_can_be_read_again() -> None:
    one = outcome(["a red star", "a blue star"], ["a red star", "a blue heart"], group="new text")
    scores = {(s.metric, s.subset): s.value for s in one.scores()}
    assert scores["exact", "all"] == scores["exact", "new text"] == scores["most_frequent_exact", "en"] == 0.5
    first, second = one.kept()
    assert first["correct"] and not second["correct"]
    assert '"exact": 0.0' in second["scores"] and second["trivial"] == "a red star"


def test_the_worst_group_is_named_unless_it_is_too_small() -> None:
    scores = [Score("bias", "exact", name, value, 0, 1, n) for name, value, n in
              (("all", 0.1, 90), ("language en", 0.9, 40), ("language fr", 0.7, 40), ("language zh", 0.2, 3))]  # fmt: skip
    assert [(s.subset, s.value) for s in worst(scores, 20)] == [("worst group: language fr", 0.7)]
