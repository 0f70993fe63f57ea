"""The best read of several drawings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.generate import Model, Sampling, draw_pictures
from model.ranking import APART, draw_best, unread
from model.tokenizers import Tokenizers
from tests.model.reading import VARIANTS, logits_of, make_model

SAMPLING = Sampling(temperature=1.0, guidance=2.0, seed=5)
WISHES = [("en", [10, 11]), ("fr", [13]), ("en", [12, 10, 11])]


@pytest.fixture(params=VARIANTS, scope="module")
def model(request: pytest.FixtureRequest, tokenizers: Tokenizers) -> Model:
    return make_model(tokenizers, **VARIANTS[request.param])


def cost(model: Model, codes: np.ndarray, lang: str, ids: list[int]) -> float:
    """Bits of a caption after a picture, the sequence read at once."""
    head = [*model.sequences.picture(codes), *model.sequences.question(lang, "caption")]
    logits = torch.log_softmax(logits_of(model, [*head, *ids]).float(), -1)
    return -sum(float(logits[len(head) - 1 + at, token]) for at, token in enumerate(ids)) / math.log(2)


def test_of_all_candidates_the_caption_costs_least_after_the_one_that_is_kept(model: Model) -> None:
    kept = draw_best(model, WISHES, SAMPLING, 4)
    drawn = [draw_pictures(model, WISHES, SAMPLING, first=number * APART) for number in range(4)]
    for at, (lang, ids) in enumerate(WISHES):
        costs = [cost(model, codes[at], lang, ids) for codes in drawn]
        best = int(np.argmin(costs))
        assert sorted(costs)[1] - costs[best] > 1e-3, "one is clearly the best"
        assert (kept[at] == drawn[best][at]).all()
    assert len({tuple(codes[0]) for codes in drawn}) == 4, "candidates differ"


def test_one_candidate_is_what_is_drawn_anyway(model: Model) -> None:
    assert (draw_best(model, WISHES, SAMPLING) == draw_pictures(model, WISHES, SAMPLING)).all()


def test_what_is_drawn_does_not_hang_on_what_else_is(model: Model) -> None:
    kept = draw_best(model, WISHES, SAMPLING, 3)
    assert (draw_best(model, WISHES[:1], SAMPLING, 3)[0] == kept[0]).all()


def test_a_picture_without_a_caption_is_the_first(model: Model) -> None:
    free = [(None, None), ("en", [10, 11])]
    assert unread(model, draw_pictures(model, free, SAMPLING), free)[0] == 0
    assert (draw_best(model, free, SAMPLING, 3)[0] == draw_pictures(model, free, SAMPLING)[0]).all()
    assert draw_best(model, [], SAMPLING, 3).shape == (0, model.sequences.codes)
