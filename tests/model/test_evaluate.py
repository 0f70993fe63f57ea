"""Scores count what is right, by task, language, subset and attribute."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.evaluate import Answer, Item, answer_items, caption_images, interval, nearest_by_pixels, scores
from model.generate import Model
from model.sequences import Sequences
from model.tokenizers import Tokenizers
from model.transformer import Transformer


def parse(text: str) -> dict[str, str] | None:
    words = text.split()
    return {"count": words[0], "colour": words[1], "relation": None} if len(words) == 3 else None


ANSWERS = [
    Answer("1", "caption", "en", "two red circles", "two red circles "),
    Answer("2", "caption", "en", "one red star", "one blue star", ("unseen",)),
    Answer("3", "caption", "en", "one red star", "nonsense", ("unseen",)),
    Answer("4", "caption", "fr", "un cercle", "un cercle"),
    Answer("5", "vqa", "en", "red", "blue"),
]


def test_scores_by_task_language_subset_and_attribute() -> None:
    found = {(s.task, s.metric, s.subset): (round(s.value, 3), s.n) for s in scores(ANSWERS, parse)}
    assert found == {
        ("caption", "exact", "all"): (0.5, 4),
        ("caption", "exact", "en"): (0.333, 3),
        ("caption", "exact", "fr"): (1.0, 1),
        ("caption", "exact", "unseen"): (0.0, 2),
        ("caption", "count", "all"): (0.667, 3),
        ("caption", "count", "en"): (0.667, 3),
        ("caption", "count", "unseen"): (0.5, 2),
        ("caption", "colour", "all"): (0.333, 3),
        ("caption", "colour", "en"): (0.333, 3),
        ("caption", "colour", "unseen"): (0.0, 2),
        ("vqa", "exact", "all"): (0.0, 1),
        ("vqa", "exact", "en"): (0.0, 1),
    }


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_the_interval_holds_the_mean(right: list[bool]) -> None:
    mean, low, high = interval(right)
    assert mean == sum(right) / len(right)
    assert 0 <= low <= mean <= high <= 1
    assert interval(right) == (mean, low, high)


def test_the_interval_narrows_with_more_items() -> None:
    wide, narrow = interval([True, False] * 20), interval([True, False] * 2000)
    assert wide[2] - wide[1] > 0.25 > 0.05 > narrow[2] - narrow[1] > 0.02


def test_nearest_by_pixels_finds_the_nearest() -> None:
    rng = np.random.default_rng(0)
    known = rng.integers(0, 256, (300, 4, 4, 3)).astype(np.uint8)
    picked = rng.integers(0, 300, 600)
    noisy = np.clip(known[picked].astype(int) + rng.integers(-8, 9, (600, 4, 4, 3)), 0, 255).astype(np.uint8)
    assert (nearest_by_pixels(known, noisy) == picked).all()


def test_items_are_answered_in_any_order(tokenizers: Tokenizers) -> None:
    config = tokenizers.model_config("tiny", width=16, depth=1, heads=2, kv_heads=1, hidden=16)
    network = Transformer(config).initialise(0)
    for head in network.heads:
        head.reset_parameters()
    model = Model(network.eval().requires_grad_(False), Sequences(config, tokenizers.vocabulary))
    images = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    codes = tokenizers.image.encode(images)
    items = [Item(f"s{i}", i % 3, "en", "caption", "", "a dark picture") for i in range(7)]
    heard: list[tuple[int, int]] = []
    answers = answer_items(
        model, tokenizers, codes, items, batch=4, most_tokens=5, progress=lambda *at: heard.append(at)
    )
    captions = caption_images(model, tokenizers, images, batch=2)
    assert {a.sample_id for a in answers} == {i.sample_id for i in items}
    assert heard == [(4, 7), (7, 7)]
    for answer in answers:
        assert captions[int(answer.sample_id[1:]) % 3].startswith(answer.output)
