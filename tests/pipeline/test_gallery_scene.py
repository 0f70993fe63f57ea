"""Scenes: what is drawn is what is said, and each attribute can be seen at 32 pixels."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.gallery import grammar
from pipeline.gallery.grammar import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, TEXTURES, UNSEEN
from pipeline.gallery.render import INK, PAPER, render
from pipeline.gallery.scene import Group, Placed, Scene, sample

SCENES = [sample(7, index) for index in range(3000)]


def small(scene: Scene) -> np.ndarray:
    """As a model sees it: 64 pixels made 32."""
    return np.asarray(Image.fromarray(render(scene)).resize((32, 32), Image.Resampling.BOX)).astype(int)


def one(colour: str, shape: str, texture: str = "plain", background: str = "grey", size=18.0) -> Scene:
    return Scene((Group(1, texture, colour, shape),), None, background, (Placed(31.3, 32.6, size, 0),))


@given(st.integers(0, 2**31), st.integers(0, 10**6), st.booleans())
def test_a_scene_is_a_function_of_its_number(seed, index, held_out):
    assert sample(seed, index, held_out=held_out) == sample(seed, index, held_out=held_out)


def test_seeds_numbers_and_sets_give_different_scenes():
    drawn = {sample(*at, held_out=held) for at in product((0, 1), range(200)) for held in (False, True)}
    assert len(drawn) == 800


def test_the_same_scene_gives_the_same_pixels():
    for scene in SCENES[:50]:
        picture = render(scene)
        assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
        assert np.array_equal(picture, render(scene))


def test_it_draws_at_any_size():
    big = Image.fromarray(render(SCENES[0], 128)).resize((64, 64), Image.Resampling.BOX)
    assert np.abs(np.asarray(big).astype(int) - render(SCENES[0]).astype(int)).mean() < 4
    assert render(SCENES[0], 5).shape == (5, 5, 3)


@given(st.integers(0, 10**6), st.booleans())
def test_objects_lie_apart_inside_the_picture_and_on_the_side_that_is_said(index, held_out):
    scene = sample(3, index, held_out=held_out)
    assert [sum(p.group == i for p in scene.objects) for i in range(len(scene.groups))] == [
        group.count for group in scene.groups
    ]
    for placed in scene.objects:
        assert placed.size / 2 <= min(placed.x, placed.y, 64 - placed.x, 64 - placed.y)
    for a, b in combinations(scene.objects, 2):
        assert max(abs(a.x - b.x), abs(a.y - b.y)) >= (a.size + b.size) / 2 + 2
    if scene.relation is not None:
        first = [p for p in scene.objects if p.group == 0]
        second = [p for p in scene.objects if p.group == 1]
        before, after = (first, second) if scene.relation in ("left of", "above") else (second, first)
        axis = "x" if scene.relation in ("left of", "right of") else "y"
        assert max(getattr(p, axis) + p.size / 2 for p in before) < 32
        assert min(getattr(p, axis) - p.size / 2 for p in after) > 32


def test_the_first_group_has_the_earlier_colour_so_a_caption_is_decided_by_the_picture():
    for scene in SCENES:
        order = [COLOURS.index(group.colour) for group in scene.groups]
        assert order == sorted(set(order))


def test_training_scenes_never_show_an_unseen_combination_and_held_out_ones_do():
    assert not any(scene.unseen for scene in SCENES)
    held = [sample(7, index, held_out=True) for index in range(2000)]
    assert 0.17 < np.mean([scene.unseen for scene in held]) < 0.23
    shown = {(group.colour, group.shape) for scene in held if scene.unseen for group in scene.groups}
    assert set(UNSEEN) <= shown


def test_everything_else_is_drawn_about_equally_often():
    def share(values, expected):
        counts = {value: list(values).count(value) for value in expected}
        assert min(counts.values()) > 0.6 * max(counts.values()), counts

    groups = [group for scene in SCENES for group in scene.groups]
    share([g.colour for g in groups], COLOURS)
    share([g.shape for g in groups], SHAPES)
    share([g.texture for g in groups], TEXTURES)
    share([s.background for s in SCENES], BACKGROUNDS)
    share([s.relation for s in SCENES if s.relation], RELATIONS)
    share([s.groups[0].count for s in SCENES if s.relation is None], (1, 2, 3, 4))
    assert 0.42 < np.mean([s.relation is None for s in SCENES]) < 0.48
    pairs = {(g.colour, g.shape) for g in groups}
    assert pairs == set(product(COLOURS, SHAPES)) - set(UNSEEN)


def test_colours_differ_from_each_other_and_from_every_background():
    inks = [INK[colour][0] for colour in COLOURS]
    for a, b in [*combinations(inks, 2), *product(inks, PAPER.values())]:
        assert np.linalg.norm(np.subtract(a, b)) > 70
    for a, b in combinations(PAPER.values(), 2):  # seen over half a picture, so less is enough
        assert np.linalg.norm(np.subtract(a, b)) > 50


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_textures_survive_32_pixels(colour, shape):
    plain, striped, dotted = (small(one(colour, shape, texture)) for texture in TEXTURES)
    inside = np.abs(plain - INK[colour][0]).sum(axis=2) < 12
    assert inside.sum() >= 20
    for textured in (striped, dotted):
        assert textured[inside].std(axis=0).max() > 15

    def along_rows(picture):
        return np.mean([picture[y][inside[y]].std(axis=0).max() for y in range(32) if inside[y].sum() > 2])

    assert along_rows(striped) < along_rows(dotted) - 5


def test_shapes_differ_at_the_smallest_size_that_is_drawn():
    masks = {
        shape: np.abs(small(one("blue", shape, "plain", "white", 15.5)) - PAPER["white"]).sum(axis=2) > 200
        for shape in SHAPES
    }
    for a, b in combinations(SHAPES, 2):
        assert (masks[a] ^ masks[b]).sum() >= 6, (a, b)


def test_there_are_more_than_100_000_captions():
    assert grammar.captions_in_grammar() == grammar.CAPTIONS > 100_000
    two = sum(
        1
        for (a, b), first, second in product(grammar.PAIRS, COLOURS, COLOURS)
        if COLOURS.index(first) < COLOURS.index(second)
        for _ in product(SHAPES, SHAPES)
    )
    one_group = 4 * len(COLOURS) * len(SHAPES) * len(TEXTURES)
    assert (two * len(TEXTURES) ** 2 * len(RELATIONS) + one_group) * len(BACKGROUNDS) == grammar.CAPTIONS
