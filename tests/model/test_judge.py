"""The judge of drawn pictures: what it tells of planted shapes, and that equal input gives equal judges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model import judge

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
SETTINGS = judge.Settings(("shape", "colour"), epochs=30)


def planted(n: int, seed: int) -> tuple[np.ndarray, list[dict[str, tuple[str, ...]]]]:
    """Pictures of 16 pixels with one or two things from left to right: bars lie or stand, in two colours."""
    draw, pictures, told = np.random.default_rng(seed), np.full((n, 16, 16, 3), 255, np.uint8), []
    for picture in pictures:
        shapes, colours = [], []
        for at in range(draw.integers(1, 3)):
            shape, colour = draw.choice(["lying", "standing"]), draw.choice(list(COLOURS))
            top, left = draw.integers(0, 8), 8 * at
            down, across = (2, 7) if shape == "lying" else (7, 2)
            picture[top : top + down, left : left + across] = COLOURS[colour]
            shapes.append(str(shape))
            colours.append(str(colour))
        told.append({"shape": tuple(shapes), "colour": tuple(colours)})
    return pictures, told


@pytest.fixture(scope="module")
def fitted() -> judge.Judge:
    return judge.fit(*planted(1500, 0), SETTINGS)


def test_it_finds_in_new_pictures_what_was_planted(fitted: judge.Judge) -> None:
    pictures, told = planted(300, 1)
    for name in SETTINGS.names:
        assert fitted.agrees(pictures, told, name).mean() >= 0.97


def test_it_does_not_find_what_is_not_there(fitted: judge.Judge) -> None:
    pictures, told = planted(300, 1)
    other = [
        {name: tuple("blue" if c == "red" else "red" for c in one["colour"]) for name in one} for one in told
    ]
    assert fitted.agrees(pictures, other, "colour").mean() <= 0.03


def test_a_thing_too_many_or_too_few_is_a_disagreement(fitted: judge.Judge) -> None:
    pictures, told = planted(300, 1)
    fewer = [{"colour": one["colour"][:1]} for one in told]
    two = np.array([len(one["colour"]) == 2 for one in told])
    assert fitted.agrees(pictures, fewer, "colour")[two].mean() <= 0.03
    more = [{"colour": (*one["colour"], *one["colour"], "red")} for one in told]
    assert not fitted.agrees(pictures, more, "colour").any()


def test_a_value_that_it_never_saw_is_a_disagreement_and_no_error(fitted: judge.Judge) -> None:
    pictures, told = planted(5, 2)
    assert not fitted.agrees(pictures, [{"colour": ("green",)} for _ in told], "colour").any()


def test_equal_pictures_and_settings_give_the_same_judge_and_it_comes_back_from_its_folder(
    fitted: judge.Judge, tmp_path: Path
) -> None:
    few = planted(200, 3)
    short = judge.Settings(("colour",), epochs=2)
    one, other = judge.fit(*few, short), judge.fit(*few, short)
    assert all(
        torch.equal(a, b) for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True)
    )
    fitted.save(tmp_path / "judge")
    loaded = judge.Judge.load(tmp_path / "judge")
    assert loaded.names(few[0]) == fitted.names(few[0])


def test_its_key_covers_settings_pictures_and_size() -> None:
    keys = {
        judge.key(SETTINGS, "a", 16),
        judge.key(SETTINGS, "b", 16),
        judge.key(SETTINGS, "a", 32),
        judge.key(judge.Settings(("shape",)), "a", 16),
    }
    assert len(keys) == 4
