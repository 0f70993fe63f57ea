"""Bars that were put around pictures are cut off where they were put, and nothing else is."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from storage import media, trim
from storage.limits import Limits

Sides = tuple[int, int, int, int]


def photo(seed: int, size: tuple[int, int] = (200, 150), low: int = 70, high: int = 180) -> Image.Image:
    """Smooth ground of many colours, none of them near black or white, with shapes on it."""
    draw = np.random.default_rng(seed)
    ground = Image.fromarray(draw.integers(low, high, (6, 8, 3), dtype=np.uint8))
    ground = ground.resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(ground)
    for _ in range(6):
        x, y = int(draw.integers(0, size[0] - 40)), int(draw.integers(0, size[1] - 30))
        pen.ellipse((x, y, x + 40, y + 30), fill=tuple(map(int, draw.integers(low, high, 3))))
    return ground


def jpeg(picture: Image.Image, quality: int = 80) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def cut(picture: Image.Image, margins: bool = False) -> Sides:
    left, top, right, bottom = trim.box(np.asarray(picture.convert("RGB")), margins)
    return left, top, picture.width - right, picture.height - bottom


thickness = st.one_of(st.just(0), st.integers(3, 50))
colours = st.sampled_from(["black", "white", "#000018", "#f0fff0"])


@settings(deadline=None, max_examples=60)
@given(st.tuples(thickness, thickness, thickness, thickness), colours, st.integers(0, 9))
def test_bars_of_any_thickness_are_cut_to_the_pixel(bars: Sides, colour: str, seed: int) -> None:
    assert cut(ImageOps.expand(photo(seed), bars, colour)) == bars


@settings(deadline=None, max_examples=40)
@given(thickness, thickness, st.sampled_from(["black", "white"]), st.integers(0, 9), st.integers(60, 95))
@example(3, 18, "black", 0, 60)
def test_of_a_jpeg_of_them_never_too_much_is_cut(
    x: int, y: int, colour: str, seed: int, quality: int
) -> None:
    found = cut(jpeg(ImageOps.expand(photo(seed), (x, y, x, y), colour), quality))
    assert all(a <= b + 1 for a, b in zip(found, (x, y, x, y), strict=True))


@pytest.mark.parametrize("quality", [60, 67, 75, 88])
def test_bars_of_a_jpeg_block_and_more_are_cut_within_a_pixel_in_98_of_100_pictures(quality: int) -> None:
    """Thinner ones share their block with the photo; and some photos leave so many traces that nothing is cut."""
    cases = [
        (seed, colour, bars)
        for seed in range(10)
        for colour in ("black", "white")
        for bars in (
            (22, 22),
            (8, 8),
            (0, 30),
            (30, 0),
            (9, 14),
            (50, 12),
            (17, 33),
            (19, 11),
            (12, 50),
            (26, 10),
        )
    ]
    right = 0
    for seed, colour, bars in cases:
        found = cut(jpeg(ImageOps.expand(photo(seed), bars * 2, colour), quality))
        right += all(abs(a - b) <= 1 for a, b in zip(found, bars * 2, strict=True))
    assert right >= 0.985 * len(cases)


def test_a_frame_around_a_frame_is_cut_too() -> None:
    inner = ImageOps.expand(photo(1), (0, 20, 0, 20), "black")
    assert cut(ImageOps.expand(inner, 12, "white")) == (12, 32, 12, 32)


@pytest.mark.parametrize("seed", range(10))
def test_a_picture_without_bars_stays_whole(seed: int) -> None:
    assert cut(photo(seed)) == cut(jpeg(photo(seed))) == (0, 0, 0, 0)


def night() -> Image.Image:
    picture = Image.new("RGB", (200, 150), "black")
    ImageDraw.Draw(picture).ellipse((60, 30, 140, 110), fill="#c8a078")
    return picture


def drawing() -> Image.Image:
    picture = Image.new("RGB", (200, 150), "white")
    ImageDraw.Draw(picture).line((40, 100, 90, 30, 160, 110), fill="black", width=3)
    return picture


def dusk() -> Image.Image:
    """Black above, which becomes lighter within the upper half."""
    rows = np.clip((np.arange(150) - 30) * 2.0, 0, 200).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(rows[:, None, None], (150, 200, 3)).copy())


def stripes() -> Image.Image:
    flag = Image.new("RGB", (200, 150), "red")
    ImageDraw.Draw(flag).rectangle((0, 50, 199, 99), fill="white")
    ImageDraw.Draw(flag).rectangle((0, 100, 199, 149), fill="blue")
    return flag


@pytest.mark.parametrize("scene", [night, drawing, dusk, stripes])
def test_grounds_of_one_colour_are_no_bars(scene) -> None:  # type: ignore[no-untyped-def]
    assert cut(scene()) == cut(jpeg(scene())) == (0, 0, 0, 0)


def test_words_in_a_bar_keep_it() -> None:
    boxed = ImageOps.expand(photo(2), (0, 0, 0, 30), "white")
    ImageDraw.Draw(boxed).text((90, boxed.height - 20), "(a)", fill="black")
    assert cut(boxed) == (0, 0, 0, 0)


def test_margins_are_cut_where_they_are_asked_for_and_ink_never() -> None:
    assert cut(drawing(), margins=True) == pytest.approx((38, 28, 38, 38), abs=3)
    left, top, right, bottom = trim.box(np.asarray(drawing()), True)
    ink = np.argwhere(np.asarray(drawing().convert("L")) < 128)
    assert (ink.min(0) >= (top, left)).all() and (ink.max(0) < (bottom, right)).all()
    assert cut(Image.new("RGB", (90, 60), "pink"), margins=True) == (0, 0, 0, 0)


def raw(picture: Image.Image, **more: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", **more)  # type: ignore[arg-type]
    return out.getvalue()


def test_a_picture_is_stored_without_its_bars_and_tells_what_was_taken() -> None:
    boxed = ImageOps.expand(photo(3), (0, 40, 0, 40), "black")
    plain, bare = (media.normalise(raw(boxed), Limits(trim=how)) for how in ("no", "bars"))  # type: ignore[arg-type]
    assert (plain.width, plain.height, plain.box) == (200, 230, None)
    assert (bare.width, bare.height, bare.box) == (200, 150, (0, 40, 200, 190))
    assert (bare.original_width, bare.original_height) == (200, 230)
    assert media.normalise(raw(photo(3)), Limits(trim="bars")).image_id == bare.image_id


def test_what_is_cut_is_cut_before_the_picture_shrinks_and_after_it_is_upright() -> None:
    boxed = ImageOps.expand(photo(4, (400, 300)), (100, 0, 60, 0), "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    found = media.normalise(
        raw(boxed.transpose(Image.Transpose.ROTATE_90), exif=exif), Limits(trim="bars", max_side=200)
    )
    assert found.box == (100, 0, 500, 300)
    assert (found.width, found.height) == (200, 150)
