"""Draws a scene by distance functions: anti-aliased at any size, in a fraction of a millisecond."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.gallery.scene import CANVAS, Scene

Array = np.ndarray

INK: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "red": ((222, 28, 34), (255, 196, 196)),
    "orange": ((255, 132, 0), (255, 226, 176)),
    "yellow": ((250, 216, 0), (128, 98, 0)),
    "green": ((22, 152, 52), (186, 240, 186)),
    "cyan": ((0, 196, 214), (0, 92, 112)),
    "blue": ((28, 62, 228), (186, 204, 255)),
    "purple": ((142, 36, 176), (234, 190, 250)),
    "brown": ((130, 72, 28), (228, 190, 148)),
}
"""Each colour, and the variant in which its stripes and dots are drawn: far enough to survive 32 pixels."""
PAPER = {"white": (255, 255, 255), "grey": (160, 160, 164), "black": (16, 16, 20), "pink": (255, 206, 224)}


def circle(x: Array, y: Array) -> Array:
    return 0.97 - np.hypot(x, y)


def square(x: Array, y: Array) -> Array:
    return 0.9 - np.maximum(np.abs(x), np.abs(y))


def triangle(x: Array, y: Array) -> Array:
    slope = np.abs(x) * 0.8944 - (y + 1.0) * 0.4472  # sides that rise 2 for each 1
    return -np.maximum(slope, y - 0.9)


def star(x: Array, y: Array) -> Array:
    """Five points: the angle is folded into one half of one point, whose edge is a line."""
    wedge = np.pi / 5
    y = y - 0.06
    angle = np.abs(np.mod(np.arctan2(x, -y) + wedge, 2 * wedge) - wedge)
    radius = np.hypot(x, y)
    outer, inner = 1.12, 0.52
    along, across = radius * np.cos(angle), radius * np.sin(angle)
    dx, dy = inner * np.cos(wedge) - outer, inner * np.sin(wedge)
    return (dy * (outer - along) + dx * across) / np.hypot(dx, dy)


def heart(x: Array, y: Array) -> Array:
    """Two circles on the upper edges of a square that stands on its corner."""
    d, y, x = 0.84, y + 0.06, np.abs(x)
    lobes = d * 0.7071 - np.hypot(x - d / 2, y + d / 2)
    return np.maximum(lobes, (d - x - np.abs(y)) * 0.7071)


def cross(x: Array, y: Array) -> Array:
    x, y = np.abs(x), np.abs(y)
    arm = 0.36
    return np.maximum(np.minimum(arm - x, 0.97 - y), np.minimum(0.97 - x, arm - y))


FORMS: dict[str, Callable[[Array, Array], Array]] = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "star": star,
    "heart": heart,
    "cross": cross,
}
"""Signed distance to the edge, positive inside; x, y in [-1, 1] with y downwards."""


def pattern(texture: str, x: Array, y: Array, side: float) -> Array:
    """Signed distance into the second ink; it, `side`, and x, y from the object's centre in pixels of 64."""
    period = max(6.4, side / 3.2)
    if texture == "striped":
        along = np.mod(y / period + 0.25, 1.0)
        return (0.25 - np.abs(along - 0.5)) * period
    spacing = max(5.8, side / 3.3)
    # The lattice stands on its corner, so that no row of dots looks like a stripe.
    u, v = (x + y) * (0.7071 / spacing), (x - y) * (0.7071 / spacing)
    u, v = u - np.round(u), v - np.round(v)
    return (0.32 - np.hypot(u, v)) * spacing


def render(scene: Scene, size: int = 64) -> np.ndarray:
    """The picture, uint8 [size, size, 3]."""
    scale = size / CANVAS
    canvas = np.empty((size, size, 3), np.float32)
    canvas[:] = PAPER[scene.background]
    for placed in scene.objects:
        group = scene.groups[placed.group]
        half = placed.size / 2
        left, right = _span(placed.x, half, scale, size)
        top, bottom = _span(placed.y, half, scale, size)
        x = ((np.arange(left, right, dtype=np.float32) + 0.5) / scale - placed.x)[None, :]
        y = ((np.arange(top, bottom, dtype=np.float32) + 0.5) / scale - placed.y)[:, None]
        inside = FORMS[group.shape](x / half, y / half) * half
        cover = _edge(inside * scale)
        first, second = INK[group.colour]
        ink = np.asarray(first, np.float32)
        if group.texture != "plain":
            depth = pattern(group.texture, x, y, placed.size)
            if group.texture == "dotted":
                depth = np.minimum(depth, inside - 0.8)  # dots keep off the edge, so that the outline stays
            mix = _edge(depth * scale)
            ink = ink + (np.asarray(second, np.float32) - ink) * mix[..., None]
        patch = canvas[top:bottom, left:right]
        patch += (ink - patch) * cover[..., None]
    return (canvas + 0.5).astype(np.uint8)


def _span(centre: float, half: float, scale: float, size: int) -> tuple[int, int]:
    reach = half * 1.15 + 1.0
    return max(0, int((centre - reach) * scale)), min(size, int((centre + reach) * scale) + 1)


def _edge(distance: Array) -> Array:
    """Coverage of a pixel whose centre is `distance` pixels inside."""
    return np.clip(distance + 0.5, 0.0, 1.0)
