"""What a scene can show: counts, textures, colours, shapes, relations and backgrounds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "brown")
"""Of two groups, that whose colour comes first here is named first: the picture decides the caption."""
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
TEXTURES = ("plain", "striped", "dotted")
RELATIONS = ("left of", "right of", "above", "below")
BACKGROUNDS = ("white", "grey", "black", "pink")
COUNTS = (1, 2, 3, 4)
MOST_OBJECTS = 4
PAIRS = tuple((a, b) for a, b in product(COUNTS, COUNTS) if a + b <= MOST_OBJECTS)
"""The counts that two groups can have together."""

UNSEEN = (("blue", "heart"), ("yellow", "triangle"), ("red", "star"))
"""(colour, shape): 3 of 48, never drawn in a training picture."""

CAPTIONS = 873_216
"""Different captions in one language; `captions_in_grammar` derives it."""


@dataclass(frozen=True)
class Group:
    """Equal objects: how many, and what they look like."""

    count: int
    texture: str
    colour: str
    shape: str

    @property
    def unseen(self) -> bool:
        """Whether training pictures never show this colour in this shape."""
        return (self.colour, self.shape) in UNSEEN


@dataclass(frozen=True)
class Attributes:
    """All that a caption says. The first of two groups has the earlier colour, and the `relation`."""

    groups: tuple[Group, ...]
    relation: str | None
    background: str

    @property
    def unseen(self) -> bool:
        return any(group.unseen for group in self.groups)


def captions_in_grammar() -> int:
    """How many different `Attributes`, and so captions in one language, there are."""
    kinds = len(SHAPES) * len(TEXTURES)
    one = len(COUNTS) * kinds * len(COLOURS)
    two = len(PAIRS) * kinds**2 * (len(COLOURS) * (len(COLOURS) - 1) // 2) * len(RELATIONS)
    return (one + two) * len(BACKGROUNDS)
