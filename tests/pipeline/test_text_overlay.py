"""Lettering that was laid over pictures is found; pictures without it, and textures, are not taken for it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipeline.annotators.text_overlay import LINE, TextOverlay
from pipeline.filters.text_overlay import TextOverlay as Keeping
from tests.pipeline.test_trim import photo, raw

WORDS = "Copyright example studio"


def measured(*pictures: Image.Image) -> pa.Table:
    ids = [str(n) for n in range(len(pictures))]
    stored = pa.array([raw(picture) for picture in pictures], pa.binary())
    return TextOverlay().annotate(pa.table({"image_id": ids, "image": stored}), {})


def lettered(picture: Image.Image, size: int, angle: int = 0, opacity: float = 1.0) -> Image.Image:
    layer = Image.new("RGBA", (2 * picture.width, 2 * picture.height))
    pen = ImageDraw.Draw(layer)
    place = (layer.width // 2, layer.height // 2)
    pen.text(place, WORDS, "white", ImageFont.load_default(size), anchor="mm")
    layer = layer.rotate(angle, Image.Resampling.BICUBIC)
    layer.putalpha(layer.getchannel("A").point(lambda alpha: round(alpha * opacity)))
    x, y = picture.width // 2, picture.height // 2
    layer = layer.crop((x, y, x + picture.width, y + picture.height))
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


@pytest.mark.parametrize("angle", [0, 30, -45])
@pytest.mark.parametrize(("size", "opacity"), [(12, 1.0), (16, 1.0), (16, 0.6)])
def test_lettering_is_found_level_and_aslant(size: int, opacity: float, angle: int) -> None:
    found = measured(
        *(lettered(photo(seed, (256, 200)), size, angle, opacity) for seed in range(4))
    ).to_pylist()
    assert np.median([row["score"] for row in found]) > 0.5
    assert np.median([row["longest"] for row in found]) >= len(WORDS) / 3
    assert all(0 < row["covered"] < 0.5 for row in found if row["score"] > 0.5)
    if angle:
        assert np.median([row["slanted"] for row in found]) >= LINE


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (200, 256), dtype=np.uint8))


def test_pictures_and_noise_are_no_text() -> None:
    plain = measured(*(photo(seed, (256, 200)) for seed in range(8)), Image.new("RGB", (256, 200), "pink"))
    assert max(plain["score"].to_pylist()) <= 0.5 and not any(plain["letters"].to_pylist())
    assert np.median(measured(*map(noise, range(5)))["score"].to_pylist()) <= 0.5


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 2)])
def test_small_pictures_have_none(size: tuple[int, int]) -> None:
    assert measured(Image.new("RGB", size, "red"))["score"].to_pylist() == [0]


def test_text_in_a_corner_is_told_from_text_across() -> None:
    corner = photo(3, (320, 256))
    ImageDraw.Draw(corner).text((4, 240), "example.org", "white", ImageFont.load_default(12))
    found = measured(corner, lettered(photo(3, (320, 256)), 18))["corner"].to_pylist()
    assert found[0] > 0.7 > 0.3 > found[1]


def test_lettered_pictures_are_dropped() -> None:
    table = measured(photo(1, (256, 200)), lettered(photo(1, (256, 200)), 14))
    rows = table.rename_columns([n if n == "image_id" else f"text_overlay.{n}" for n in table.column_names])
    assert Keeping().keep(rows).to_pylist() == [True, False]
    assert Keeping(covered=1).keep(rows).to_pylist() == [True, True]
