"""Measures agree with the field's own programs, add up over items, and their bounds hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from model import measures
from model.cider import cider
from model.frechet import frechet
from model.measures import resamples

SAID = ["two red circles left of a star", "a cat", "un cercle rouge", "", "deux carrés"]
RIGHT = ["two red circles above a star", "a big cat", "un cercle bleu", "x y", "deux carrés"]
SENTENCES = st.lists(st.text("ab cé的.", max_size=20), min_size=1, max_size=6)


@pytest.mark.parametrize(("measure", "order"), [(measures.chrf, 0), (measures.chrf_plus, 2)])
@given(pairs=st.data())
def test_chrf_is_sacrebleus(measure, order: int, pairs: st.DataObject) -> None:
    said = pairs.draw(SENTENCES)
    right = pairs.draw(st.lists(st.text("ab cé的.", max_size=20), min_size=len(said), max_size=len(said)))
    found = measure(said, right, [])
    assert found.whole() == pytest.approx(sacrebleu.corpus_chrf(said, [right], word_order=order).score)
    for each, a, b in zip(found.each, said, right, strict=True):
        assert each == pytest.approx(sacrebleu.sentence_chrf(a, [b], word_order=order).score)


def test_bleu_is_sacrebleus_of_all_and_of_each() -> None:
    found = measures.bleu(SAID, RIGHT)
    assert found.whole() == pytest.approx(sacrebleu.corpus_bleu(SAID, [RIGHT]).score)
    for each, a, b in zip(found.each, SAID, RIGHT, strict=True):
        assert each == pytest.approx(sacrebleu.sentence_bleu(a, [b]).score)


def test_chinese_is_cut_by_its_own_rule() -> None:
    said, right = ["白色背景上有两颗红色星星"], ["白色背景上有三颗红色星星"]
    assert measures.bleu(said, right, ["zh"]).whole() == pytest.approx(
        sacrebleu.corpus_bleu(said, [right], tokenize="zh").score
    )
    assert measures.bleu(said, right, ["en"]).whole() < 1
    assert measures.rouge_l(said, right).whole() == pytest.approx(11 / 12)


def test_short_answers_forgive_what_does_not_matter() -> None:
    said, right = ["The star.", "two", "Étoile"], ["star", "2", "étoile"]
    assert measures.accuracy(said, right).each.tolist() == [1, 0, 1]
    assert measures.exact(said, right).each.tolist() == [0, 0, 0]
    assert measures.f1(["a red star", ""], ["red circle", "x"]).each.tolist() == [0.5, 0]


def test_rouge_l_counts_what_is_common_in_order() -> None:
    assert measures.rouge_l(["a b c d"], ["a c x"]).whole() == pytest.approx(2 * 2 / 7)
    assert measures.rouge_l(["c a"], ["a c"]).whole() == pytest.approx(0.5)


def test_cider_weighs_rare_words_and_lengths() -> None:
    right = [["a", "red", "star"], ["a", "blue", "heart"], ["a", "green", "cross"]]
    same, common, longer = cider(
        [right[0], ["a", "a", "a"], [*right[2], "a", "red"]], [right[0], right[1], right[2]]
    )
    assert same == pytest.approx(
        7.5
    )  # three words have no run of four: a quarter of the score is out of reach
    assert common == pytest.approx(0)  # what every reference says tells nothing
    assert 0 < longer < 7.5


def test_frechet_is_the_distance_of_two_normals() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4000, 3)), 2 * rng.normal(size=(4000, 3)) + 1
    assert frechet(a, b) == pytest.approx(3 + 3, rel=0.1)  # |mean|² and the trace of (1 - 2)²
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    few = frechet(a[:5], b[:5])  # fewer pictures than features are no error
    assert few > 0 and math.isfinite(few)


def test_the_bounds_of_a_score_that_is_no_mean_hold_it() -> None:
    found = measures.bleu(SAID * 8, RIGHT * 8)
    weights = resamples(40)
    assert weights.sum(1).tolist() == [40.0] * len(weights)
    value, low, high = found.interval(weights)
    assert low < value < high and value == found.whole()
    assert found.interval(weights) == (value, low, high)
    assert measures.exact(SAID, SAID).interval(resamples(5)) == (1, 1, 1)
