"""Fitting one small picture onto another, and what counts as the same picture or drawing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import fitting, likeness, signatures
from pipeline.likeness import Looks


def soft(seed: int, count: int = 1) -> np.ndarray:
    """Smooth random layouts, float32 [count, 32, 32]."""
    grids = np.random.default_rng(seed).uniform(0, 255, (count, 32, 32))
    for axis in (1, 2):
        for _ in range(3):
            grids = (grids + np.roll(grids, 1, axis) + np.roll(grids, -1, axis)) / 3
    return ((grids - grids.min()) / np.ptp(grids) * 255).astype(np.float32)


@pytest.mark.parametrize("fit", [(0, 0, 0, 0), (0.05, 1.5, -0.04, -1.0), (0, -2.4, 0.08, 2.0)])
def test_a_fit_finds_what_a_picture_was_moved_by(fit: tuple[float, ...]) -> None:
    pictures = soft(0, 20)
    moved, _ = fitting.warped(pictures, np.tile(np.array(fit, np.float32), (20, 1)))
    found = fitting.fitted(pictures, moved)
    assert np.abs(found - np.array(fit)).max(0)[[1, 3]].max() < 0.2
    assert np.abs(found - np.array(fit)).max(0)[[0, 2]].max() < 0.02


def test_a_fit_ignores_what_differs_in_a_part() -> None:
    pictures = soft(1, 20)
    moved, _ = fitting.warped(pictures, np.tile(np.array([0, 1.5, 0, 0], np.float32), (20, 1)))
    moved[:, 24:, 4:28] = 0
    assert np.abs(fitting.fitted(pictures, moved)[:, 1] - 1.5).max() < 0.25


def test_what_comes_from_outside_does_not_count() -> None:
    _, inside = fitting.warped(soft(2), np.array([[0, 4.0, 0, 0]], np.float32))
    assert inside[0, :, :28].all()
    assert not inside[0, :, 29:].any()


def looks(grids: np.ndarray) -> Looks:
    return Looks(signatures.layout(grids), signatures.pooled(grids, signatures.SIDE))


def test_nothing_compared_with_nothing_is_nothing() -> None:
    none = looks(np.empty((0, 32, 32, 3), np.uint8))
    assert likeness.same(none, none, 16, 0.8, True).shape == (0,)
    assert likeness.same_drawing(none, none, 0.8).shape == likeness.same_picture(none, none, 16, 0.8).shape


@given(st.integers(0, 2**32 - 1), st.floats(0.7, 1.4), st.floats(-30, 30))
def test_light_and_contrast_do_not_matter_either_way_around(seed: int, gain: float, shift: float) -> None:
    colours = np.random.default_rng(seed).integers(60, 150, (1, 8, 8, 3)).repeat(4, 1).repeat(4, 2)
    one = looks(colours.astype(np.uint8))
    other = looks((colours * gain + shift).clip(0, 255).astype(np.uint8))
    assert likeness.same_picture(one, other, 16, 0.8).all()
    assert likeness.same_picture(other, one, 16, 0.8).all()
    glimpses = [signatures.pooled(side.thumbnails, signatures.COARSE) for side in (one, other)]
    assert likeness.plausible(*glimpses, 16, False).all()


@given(st.integers(0, 7), st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_turns_are_the_eight_symmetries_of_a_square(first: int, second: int, seed: int) -> None:
    cells = np.random.default_rng(seed).integers(0, 255, (1, 4, 4, 3))
    eight = [signatures.turned(cells, turn).tobytes() for turn in range(8)]
    assert len(set(eight)) == 8
    assert signatures.turned(signatures.turned(cells, first), second).tobytes() in eight


@pytest.mark.parametrize("turn", range(8))
def test_signatures_turn_with_their_picture(turn: int) -> None:
    grids = np.random.default_rng(turn).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    turned, kept = looks(signatures.turned(grids, turn)), looks(grids).turned(turn)
    assert (turned.layouts == kept.layouts).all()
    assert (turned.thumbnails == kept.thumbnails).all()
    assert (signatures.colour_hash(turned.thumbnails) == signatures.colour_hash(kept.thumbnails)).all()


@given(st.integers(0, 2**32 - 1))
def test_pooling_rounds_means(seed: int) -> None:
    cells = np.random.default_rng(seed).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    means = cells.reshape(2, 16, 2, 16, 2, 3).mean((2, 4))
    assert (signatures.pooled(cells, 16) == np.floor(means + 0.5)).all()
