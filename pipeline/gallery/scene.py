"""A scene: what it shows and where each object lies. `sample` draws the one with a given number."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

from pipeline.gallery.grammar import (
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    PAIRS,
    RELATIONS,
    SHAPES,
    TEXTURES,
    UNSEEN,
    Attributes,
    Group,
)
from pipeline.gallery.questions import questions
from pipeline.gallery.stories import story
from pipeline.gallery.words import caption, parse

__all__ = ["Attributes", "Group", "Placed", "Scene", "caption", "parse", "questions", "sample", "story"]

CANVAS = 64.0
MARGIN = 2.0
GAP = 2.5
"""Least distance between two objects, and of an object from the line between two groups, in pixels of 64."""
ONE_GROUP = 0.45
UNSEEN_SHARE = 0.2
"""Share of held-out scenes that show a combination which no training scene shows."""
SIZES = {
    "whole": {1: (21.0, 27.0), 2: (20.0, 25.0), 3: (18.5, 23.0), 4: (17.5, 21.0)},
    "half": {1: (20.0, 25.0), 2: (17.5, 22.0), 3: (15.5, 17.5)},
}
"""Range of an object's side, by the room its group has and the number of its objects, in pixels of 64."""

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

T = TypeVar("T")


@dataclass(frozen=True)
class Placed:
    """One object: its centre and side in pixels of a 64 x 64 picture, and the index of its group."""

    x: float
    y: float
    size: float
    group: int


@dataclass(frozen=True)
class Scene:
    """What the picture shows (in the order of the caption) and where."""

    groups: tuple[Group, ...]
    relation: str | None
    background: str
    objects: tuple[Placed, ...]

    @property
    def attributes(self) -> Attributes:
        return Attributes(self.groups, self.relation, self.background)

    @property
    def unseen(self) -> bool:
        """Whether it shows a combination that training pictures never show."""
        return self.attributes.unseen


def sample(seed: int, index: int, *, held_out: bool = False) -> Scene:
    """Scene number `index` of a corpus: a function of the arguments alone."""
    # Only random() is used: it is the one method whose sequence Python promises to keep.
    rng = random.Random(f"gallery {seed} {'held out' if held_out else 'train'} {index}")
    what = draw_attributes(rng, unseen=held_out and rng.random() < UNSEEN_SHARE)
    return Scene(what.groups, what.relation, what.background, place(rng, what))


def pick(rng: random.Random, values: Sequence[T]) -> T:
    return values[int(rng.random() * len(values))]


def draw_attributes(rng: random.Random, *, unseen: bool = False) -> Attributes:
    """With `unseen`, one group is an unseen combination; otherwise none is."""
    alone = rng.random() < ONE_GROUP
    counts = (pick(rng, COUNTS),) if alone else pick(rng, PAIRS)
    groups: list[Group] = []
    for count in counts:
        wanted = UNSEEN if unseen and not groups else ()
        groups.append(draw_group(rng, count, wanted, taken=[group.colour for group in groups]))
    groups.sort(key=lambda group: COLOURS.index(group.colour))
    return Attributes(tuple(groups), None if alone else pick(rng, RELATIONS), pick(rng, BACKGROUNDS))


def draw_group(
    rng: random.Random, count: int, wanted: Sequence[tuple[str, str]], taken: Sequence[str]
) -> Group:
    texture = pick(rng, TEXTURES)
    while True:
        colour, shape = pick(rng, wanted) if wanted else (pick(rng, COLOURS), pick(rng, SHAPES))
        if colour not in taken and (wanted or (colour, shape) not in UNSEEN):
            return Group(count, texture, colour, shape)


def place(rng: random.Random, what: Attributes) -> tuple[Placed, ...]:
    """Objects of two groups lie in the two halves that the relation names, and none overlap."""
    low, high, middle = MARGIN, CANVAS - MARGIN, CANVAS / 2
    whole = (low, low, high, high)
    halves = {
        "left of": (low, low, middle - GAP, high),
        "right of": (middle + GAP, low, high, high),
        "above": (low, low, high, middle - GAP),
        "below": (low, middle + GAP, high, high),
    }
    if what.relation is None:
        return tuple(scatter(rng, what.groups[0].count, whole, SIZES["whole"], 0))
    boxes = (halves[what.relation], halves[OPPOSITE[what.relation]])
    return tuple(
        placed
        for index, (group, box) in enumerate(zip(what.groups, boxes, strict=True))
        for placed in scatter(rng, group.count, box, SIZES["half"], index)
    )


def scatter(
    rng: random.Random,
    count: int,
    box: tuple[float, float, float, float],
    sizes: dict[int, tuple[float, float]],
    group: int,
) -> list[Placed]:
    """Draws places until all fit: an unlucky draw starts over, so that no place is favoured."""
    least, most = sizes[count]
    left, top, right, bottom = box
    side = least + (most - least) * rng.random()
    while True:
        found: list[Placed] = []
        for _ in range(12 * count):
            size = side * (0.95 + 0.1 * rng.random())
            x = left + size / 2 + (right - left - size) * rng.random()
            y = top + size / 2 + (bottom - top - size) * rng.random()
            here = Placed(x, y, size, group)
            if all(apart(here, other) for other in found):
                found.append(here)
            if len(found) == count:
                return found
        side = max(least, side * 0.97)


def apart(a: Placed, b: Placed) -> bool:
    return max(abs(a.x - b.x), abs(a.y - b.y)) >= (a.size + b.size) / 2 + GAP


def recoloured(scene: Scene, rng: random.Random) -> Scene:
    """The same layout in other colours: a different picture with a different caption, not a copy."""
    while True:
        other = _in_colours(scene, [pick(rng, COLOURS) for _ in scene.groups])
        if other is not None:
            return other


def recolourings(scene: Scene) -> Iterator[Scene]:
    """Everything that `recoloured` may give."""
    for colours in product(COLOURS, repeat=len(scene.groups)):
        other = _in_colours(scene, colours)
        if other is not None:
            yield other


def _in_colours(scene: Scene, colours: Sequence[str]) -> Scene | None:
    """The scene in other colours, or None where one stays, two are the same, or training never shows one so."""
    groups = tuple(replace(group, colour=new) for group, new in zip(scene.groups, colours, strict=True))
    stays = any(new == group.colour for new, group in zip(colours, scene.groups, strict=True))
    if stays or len(set(colours)) < len(colours) or any(group.unseen for group in groups):
        return None
    return reordered(replace(scene, groups=groups))


def reordered(scene: Scene) -> Scene:
    """Brings the groups back into the order in which captions name them."""
    if len(scene.groups) < 2 or COLOURS.index(scene.groups[0].colour) < COLOURS.index(scene.groups[1].colour):
        return scene
    objects = tuple(replace(placed, group=1 - placed.group) for placed in scene.objects)
    return replace(scene, groups=scene.groups[::-1], relation=OPPOSITE[str(scene.relation)], objects=objects)
