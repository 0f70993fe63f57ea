"""Letters laid over a picture: captions, watermarks, addresses in a corner. Found by their shape alone; nothing is read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.matching import components
from pipeline.step import Annotator

SIDE = 384
"""Longer side, in pixels, of the grey picture in which letters are looked for; smaller ones stay as they are."""
STROKE = 9
"""Pixels: strokes are thinner."""
CONTRAST = 18
"""Levels between a stroke and what is around it, at least."""
HALF = 0.5
"""Share of the strongest stroke nearby: a letter's blurred edge is less."""
HEIGHTS = (4, 48)
"""Pixels of a letter."""
MOST = 160
"""Letters that are looked at: those with the most contrast."""
ANGLES = (0, 25, 45, 65, 90, -25, -45, -65)
"""Degrees of the lines that are looked for."""
ALIKE = 1.6
"""How many times higher than its neighbour a letter may be."""
NEAR, OFF = 1.6, 0.35
"""Distance of neighbours along their line, and off it, in letters' heights."""
TONE = 30
"""Levels by which neighbours may differ."""
LINE = 4
"""Letters of the shortest line that counts."""
SPACED = 1.5
"""Area of a line, in areas of its letters' boxes."""
WEIGHTS = (-1.4, 3.54, -13.87, 0.12, -3.01, -1.05, -1.32, 0.9, -1.75, -1.15, -1.38, -2.27)
"""Of a logistic regression: what `_told` says of lines that were planted in photos (three faces of DejaVu, 10 to 24 pixels,
opacity .3 to 1, level and aslant), held against lines that were found in the photos themselves. The first one is lowered, so
that one photo in twenty without text has a score over .5."""


@dataclass(frozen=True)
class Letters:
    """What may be letters: centres float32 [n, 2], sizes [n, 2] (width, height); and of each its grey, how much it stands out
    in levels, and which share of its box it fills, all [n]."""

    centres: np.ndarray
    sizes: np.ndarray
    tones: np.ndarray
    force: np.ndarray
    fill: np.ndarray


class TextOverlay(Annotator):
    """How much lettering lies over a picture: letters that stand in lines, level or aslant."""

    version: ClassVar[int] = 1
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("letters", pa.int32(), metadata={"doc": "Letter-like shapes that stand in lines."}),
            pa.field("longest", pa.int32(), metadata={"doc": "Letters of the longest line."}),
            pa.field("slanted", pa.int32(), metadata={"doc": "Letters of the longest line aslant."}),
            pa.field(
                "covered", pa.float32(), metadata={"doc": "Share of the picture under lines of letters."}
            ),
            pa.field(
                "corner",
                pa.float32(),
                metadata={"doc": "Share of the letters that stand in an outer ninth at a corner."},
            ),
            pa.field(
                "score", pa.float32(), metadata={"doc": "0 for none; 1 for a line that is surely text."}
            ),
        ]
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        found = [overlay(grey(image.as_buffer())) for image in rows["image"]]
        columns = zip(*found, strict=True) if found else ([] for _ in self.columns)
        arrays = [pa.array(list(c), f.type) for c, f in zip(columns, self.columns, strict=True)]
        return pa.table([rows["image_id"], *arrays], names=["image_id", *self.columns.names])


def grey(image: Any) -> np.ndarray:
    """A stored picture as uint8 [rows, columns], its longer side at most SIDE."""
    picture: Image.Image = Image.open(io.BytesIO(image), formats=("PNG", "JPEG"))
    picture.draft("L", (SIDE, SIDE))
    picture = picture.convert("L")
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def overlay(pixels: np.ndarray) -> tuple[int, int, int, float, float, float]:
    """letters, longest, slanted, covered, corner, score of uint8 [rows, columns]: the surer of light and of dark letters."""
    import cv2

    kernel = np.ones((STROKE, STROKE), np.uint8)
    best = (0, 0, 0, 0.0, 0.0, 0.0)
    for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        found = _judged(letters(pixels, cv2.morphologyEx(pixels, kind, kernel)), pixels.shape)
        best = max(best, found, key=lambda one: one[-1])
    return best


def letters(pixels: np.ndarray, strokes: np.ndarray) -> Letters:
    """Shapes of the size and the proportions of letters among strokes, uint8 [rows, columns]."""
    import cv2

    peaks = cv2.dilate(strokes, np.ones((STROKE, STROKE), np.uint8))
    inked = (strokes >= CONTRAST) & (strokes >= HALF * peaks)
    count, labels, stats, centres = cv2.connectedComponentsWithStats(inked.astype(np.uint8), connectivity=8)
    width, height, area = (
        stats[:, n].astype(np.float32) for n in (cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA)
    )
    side = np.maximum(width, height)
    fill = area / (width * height)
    right = (side >= HEIGHTS[0]) & (side <= HEIGHTS[1]) & (fill > 0.15) & (area >= 6)
    right[0] = False  # the ground
    flat = labels.ravel()
    force = np.bincount(flat, strokes.ravel(), count) / np.maximum(1, area)
    tones = np.bincount(flat, pixels.ravel(), count) / np.maximum(1, area)
    chosen = np.flatnonzero(right)
    chosen = chosen[np.argsort(-force[chosen], kind="stable")[:MOST]]
    sizes = np.stack([width[chosen], height[chosen]], 1)
    return Letters(centres[chosen].astype(np.float32), sizes, tones[chosen], force[chosen], fill[chosen])


def lines(found: Letters) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Lines of letters: their members, what tells text from texture of each (float64 [n, len(WEIGHTS)]), and their angles."""
    high = found.sizes.max(1)
    a, b = np.nonzero(np.triu(_near(found, high), 1))
    way, taller = found.centres[a] - found.centres[b], np.maximum(high[a], high[b])
    members, told, angles = [], [], []
    for angle in ANGLES:
        turn = np.deg2rad(angle)
        axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], np.float32)
        on = np.abs(way @ axes[:, 1]) <= OFF * taller
        group = components(len(high), a[on], b[on])
        for one in np.flatnonzero(np.bincount(group, minlength=len(high)) >= LINE):
            line = np.flatnonzero(group == one)
            members.append(line)
            told.append(_told(found, high, line, found.centres[line] @ axes))
            angles.append(angle)
    return members, np.array(told).reshape(len(told), len(WEIGHTS)), np.array(angles)


def _near(found: Letters, high: np.ndarray) -> np.ndarray:
    """Which two shapes may be letters beside each other: bool [n, n]."""
    x, y = found.centres.T
    taller = np.maximum(high[:, None], high)
    near = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2 <= (NEAR * taller) ** 2
    near &= taller <= ALIKE * np.minimum(high[:, None], high)
    return near & (np.abs(found.tones[:, None] - found.tones) <= TONE)


def _told(found: Letters, high: np.ndarray, line: np.ndarray, places: np.ndarray) -> tuple[float, ...]:
    """What tells a line of text, in the order of WEIGHTS; `places` are the letters' along and across the line."""
    along, across = places[:, 0] - places[:, 0].mean(), places[:, 1] - places[:, 1].mean()
    mean = float(high[line].mean())
    slope = float(along @ across) / max(1e-6, float(along @ along))
    gaps = np.diff(np.sort(along)) / mean
    force, middle = found.force[line], float(np.median(gaps))
    return (
        1.0,
        float(np.log(len(line))),
        float(np.std(across - slope * along)) / mean,
        float(high[line].std()) / mean,
        float(np.abs(gaps - middle).mean()),
        middle,
        float(found.tones[line].std()) / 10,
        float(force.mean()) / 50,
        float(force.std() / force.mean()),
        float(found.fill[line].mean()),
        float(found.fill[line].std()),
        mean / 10,
    )


def _judged(found: Letters, shape: tuple[int, ...]) -> tuple[int, int, int, float, float, float]:
    none = (0, 0, 0, 0.0, 0.0, 0.0)
    members, told, angles = lines(found)
    if not members:
        return none
    sure = 1 / (1 + np.exp(-(told @ np.array(WEIGHTS))))
    text = [at for at in range(len(members)) if sure[at] >= 0.5]
    if not text:
        return (*none[:-1], float(sure.max()))
    inked = np.unique(np.concatenate([members[at] for at in text]))
    lengths = np.array([len(members[at]) for at in text])
    covered = float(found.sizes[inked].prod(1).sum() * SPACED / (shape[0] * shape[1]))
    outer = np.abs(found.centres[inked] / np.array([shape[1], shape[0]]) - 0.5).min(1) > 1 / 6
    slanted = lengths[angles[text] != 0].max(initial=0)
    return (
        len(inked),
        int(lengths.max()),
        int(slanted),
        min(1.0, covered),
        float(outer.mean()),
        float(sure.max()),
    )
