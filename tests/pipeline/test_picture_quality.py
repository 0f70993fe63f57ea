"""Blur, noise, blankness and bars: planted in a picture, and measured."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageFilter, ImageOps

from pipeline.annotators.picture_quality import PictureQuality
from pipeline.filters.picture_quality import PictureQuality as Keeping


def scene(seed: int, size: tuple[int, int] = (256, 192)) -> Image.Image:
    """Smooth ground with sharp-edged shapes on it."""
    draw = np.random.default_rng(seed)
    ground = Image.fromarray(draw.integers(60, 200, (4, 5, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    for _ in range(9):
        x, y = (int(draw.integers(0, limit - 40)) for limit in size)
        ground.paste(tuple(map(int, draw.integers(0, 256, 3))), (x, y, x + 38, y + 30))
    return ground


def measured(*pictures: Image.Image) -> list[dict[str, Any]]:
    stored = []
    for picture in pictures:
        out = io.BytesIO()
        picture.save(out, "PNG")
        stored.append(out.getvalue())
    rows = pa.table(
        {"image_id": [str(n) for n in range(len(stored))], "image": pa.array(stored, pa.binary())}
    )
    return PictureQuality().annotate(rows, {}).to_pylist()


@pytest.mark.parametrize("seed", range(6))
def test_a_blurred_picture_is_less_sharp_the_more_it_is_blurred(seed: int) -> None:
    picture = scene(seed)
    found = measured(picture, *(picture.filter(ImageFilter.GaussianBlur(radius)) for radius in (1, 2, 4)))
    values = [row["sharpness"] for row in found]
    assert values == sorted(values, reverse=True) and values[0] > 2 * values[2] > 0


@pytest.mark.parametrize("sigma", [4, 8, 16])
@pytest.mark.parametrize("seed", range(3))
def test_noise_is_measured_in_levels(seed: int, sigma: int) -> None:
    clean = scene(seed).convert("L")
    draw = np.random.default_rng(seed)
    noisy = np.clip(np.asarray(clean, float) + draw.normal(0, sigma, clean.size[::-1]), 0, 255)
    before, after = measured(clean, Image.fromarray(noisy.astype(np.uint8)))
    assert before["noise"] < 1.5
    assert after["noise"] == pytest.approx(sigma, rel=0.25)


@pytest.mark.parametrize("colour", ["black", "white", "#206040"])
def test_bars_are_found_and_measured(colour: str) -> None:
    picture = scene(1)
    letterbox = ImageOps.expand(picture, (0, 24, 0, 24), colour)
    pillar = ImageOps.expand(picture, (32, 0, 32, 0), colour)
    plain, boxed, pillared = measured(picture, letterbox, pillar)
    assert [plain[f"bar_{side}"] for side in ("top", "bottom", "left", "right")] == [0, 0, 0, 0]
    assert boxed["bar_top"] == pytest.approx(0.1, abs=0.01) == boxed["bar_bottom"] and boxed["bar_left"] == 0
    assert (
        pillared["bar_left"] == pytest.approx(0.1, abs=0.01) == pillared["bar_right"]
        and pillared["bar_top"] == 0
    )
    assert boxed["contrast"] == pytest.approx(plain["contrast"], rel=0.03)  # of what is inside


def test_a_blank_picture_has_nothing() -> None:
    blank, nearly = measured(
        Image.new("RGB", (90, 60), "pink"), Image.linear_gradient("L").point(lambda v: 128 + v // 128)
    )
    assert blank == {"image_id": "0", "contrast": 0, "sharpness": 0, "noise": 0} | {
        f"bar_{side}": 0 for side in ("top", "bottom", "left", "right")
    }
    assert nearly["contrast"] < 1


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (40, 2), (3, 3)])
def test_small_pictures_are_measured_too(size: tuple[int, int]) -> None:
    (found,) = measured(Image.new("RGB", size, "red"))
    assert found["noise"] == 0


def test_measures_do_not_depend_on_the_stored_size() -> None:
    small, large = measured(scene(2), scene(2).resize((512, 384), Image.Resampling.NEAREST))
    for name in ("contrast", "sharpness"):
        assert small[name] == pytest.approx(large[name], rel=0.05)


def test_what_is_blank_noisy_or_mostly_bars_is_dropped() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (192, 256), dtype=np.uint8))
    boxed = ImageOps.expand(scene(1), (0, 150, 0, 150), "black")
    pictures = [scene(1), Image.new("RGB", (90, 60), "pink"), noise, boxed]
    table = pa.Table.from_pylist(measured(*pictures))
    rows = table.rename_columns(
        [n if n == "image_id" else f"picture_quality.{n}" for n in table.column_names]
    )
    assert Keeping().keep(rows).to_pylist() == [True, False, False, False]
    assert Keeping(contrast=0, noise=999, bars=1).keep(rows).to_pylist() == [True] * 4
    assert Keeping(sharpness=1).keep(rows).to_pylist()[1] is False
