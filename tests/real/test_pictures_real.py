"""Real photos of food, and of textbooks: what is planted in them is found, and little else.

Every third one is tried, and all photos of food.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from pipeline.annotators import text_overlay
from pipeline.annotators.picture_quality import grey, measures
from storage import panels, trim

BLUR = 0.12
"""Sharpness below which a photo of 256 pixels is blurred."""


def decoded(file: Path, **where: str) -> list[Image.Image]:
    rows = pq.read_table(file, filters=[(name, "=", value) for name, value in where.items()] or None)
    rows = rows.sort_by("image_id")
    return [Image.open(io.BytesIO(image.as_py())).convert("RGB") for image in rows["image"]]


@pytest.fixture(scope="module")
def food(real_data: Callable[[str], Path]) -> list[Image.Image]:
    return decoded(real_data("recipes-en") / "images.parquet")


@pytest.fixture(scope="module")
def photos(real_data: Callable[[str], Path], food: list[Image.Image]) -> list[Image.Image]:
    return [*decoded(real_data("textbook-figures") / "images.parquet", kind="photo"), *food][::3]


def jpeg(picture: Image.Image, quality: int = 88) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def whole(picture: Image.Image) -> bool:
    return trim.box(np.asarray(picture)) == (0, 0, *picture.size)


def above(one: list[float], other: list[float]) -> float:
    """How often a value of one list is above one of the other: the area under the ROC curve."""
    a, b = np.array(one)[:, None], np.array(other)[None]
    return float((a > b).mean() + (a == b).mean() / 2)


def test_few_photos_have_bars_and_planted_ones_are_cut_to_the_pixel(photos: list[Image.Image]) -> None:
    bare = [picture for picture in photos if whole(picture)]
    assert len(bare) >= 0.95 * len(photos)
    exact = into = tried = 0
    for at, picture in enumerate(bare):
        bars = [(0, 20, 0, 20), (31, 0, 31, 0), (9, 9, 9, 9)][at % 3]
        colour = ["black", "white", "#3060a0"][at // 3 % 3]
        boxed = ImageOps.expand(picture, bars, colour)
        left, top, right, bottom = trim.box(np.asarray(boxed))
        cut = (left, top, boxed.width - right, boxed.height - bottom)
        into += any(a > b + 1 for a, b in zip(cut, bars, strict=True))
        edges = np.asarray(picture).astype(int)
        level = np.array(boxed.getpixel((0, 0)))
        lines = [edges[:, 0], edges[0], edges[:, -1], edges[-1]]
        if all(
            (abs(line - level).max(1) > 24).mean() > 0.6 for line, n in zip(lines, bars, strict=True) if n
        ):
            tried, exact = tried + 1, exact + (cut == bars)
    assert into == 0
    assert exact >= 0.95 * tried and tried > len(bare) / 2


def test_photos_of_food_are_cut_only_where_they_are_collages(food: list[Image.Image]) -> None:
    found = [panels.boxes(np.asarray(picture)) for picture in food]
    assert sorted(len(boxes) for boxes in found if boxes) == [3, 4, 4]  # all three were looked at


def test_blur_and_noise_are_measured(photos: list[Image.Image]) -> None:
    rows, draw = [], np.random.default_rng(0)
    for picture in photos:
        blurred = [picture.filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 1, 2, 4)]
        rows.append([measures(grey(jpeg(one)))[1] for one in blurred])
        levels = np.asarray(picture.convert("L"), float)
        noisy = [
            Image.fromarray((levels + draw.normal(0, sigma, levels.shape)).clip(0, 255).astype(np.uint8))
            for sigma in (0, 8, 16, 32)
        ]
        measured = [measures(grey(jpeg(one)))[2] for one in noisy]
        rows[-1] += [sorted(measured) == measured]
    sharp = np.array(rows)
    assert (np.diff(sharp[:, :4], axis=1) <= 0).all(1).mean() > 0.95
    assert sharp[:, 4].mean() > 0.95
    assert (sharp[:, 0] < BLUR).mean() < 0.02 and (sharp[:, 2] < BLUR).mean() > 0.95


def test_lettering_over_food_is_told_from_food(food: list[Image.Image]) -> None:
    pictures = food[1::2]  # the weights were fitted on the others
    plain = [text_overlay.overlay(text_overlay.grey(jpeg(picture)))[-1] for picture in pictures]
    found = []
    for picture in pictures:
        lettered = picture.copy()
        place = (picture.width // 2, picture.height - 20)
        font = ImageFont.load_default(15)
        ImageDraw.Draw(lettered).text(place, "www.example.org", "white", font, anchor="mm")
        found.append(text_overlay.overlay(text_overlay.grey(jpeg(lettered)))[-1])
    assert above(found, plain) > 0.9
    assert np.mean(np.array(plain) > 0.5) < 0.1 and np.mean(np.array(found) > 0.5) > 0.7
