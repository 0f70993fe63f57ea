"""Pictures as they come in: every adverse input has its verdict, every mode its right pixels."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, JpegImagePlugin

from storage import media
from storage.limits import Limits
from storage.media import MediaError, normalise

TINY = Limits(min_side=1)


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def stored(raw: bytes, limits: Limits = TINY) -> np.ndarray:
    """The stored picture's samples."""
    with Image.open(io.BytesIO(normalise(raw, limits).image)) as picture:
        assert picture.mode == "RGB"
        return np.asarray(picture)


def reason(raw: bytes, limits: Limits = TINY) -> str:
    with pytest.raises(MediaError) as caught:
        normalise(raw, limits)
    return caught.value.reason


def photo(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    """A smooth picture without symmetry."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG from its rows (each with its filter byte), for what Pillow cannot write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


# --- what is not taken


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_truncated_file_is_refused_not_filled_up(kind: str):
    raw = encoded(photo(), kind)
    assert reason(raw[: len(raw) * 2 // 3]) in {"truncated", "decode_error"}


def test_truncated_jpeg_and_png_say_so():
    for kind in ("JPEG", "PNG"):
        raw = encoded(photo(), kind)
        assert reason(raw[: len(raw) * 2 // 3]) == "truncated"


def test_900_megapixels_are_refused_from_the_header(monkeypatch: pytest.MonkeyPatch):
    side = 30_000
    raw = png(side, side, 1, 0, b"\0" * ((side // 8 + 1) * side))
    assert len(raw) < 200_000
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded a bomb"))
    assert reason(raw) == "too_many_pixels"


def test_pixels_over_our_own_limit_are_refused_before_decoding(monkeypatch: pytest.MonkeyPatch):
    raw = encoded(photo(100, 100), "PNG")
    monkeypatch.setattr(media, "_upright_rgb", lambda *_: pytest.fail("decoded"))
    assert reason(raw, Limits(min_side=1, max_pixels=9_999)) == "too_many_pixels"


@pytest.mark.parametrize(
    "raw",
    [
        b"<!doctype html><html><body>404</body></html>",
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        b"%PDF-1.7\n",
        b"\0" * 4096,
        b"{}",
    ],
    ids=["html", "svg", "eps", "pdf", "zeros", "json"],
)
def test_what_is_no_picture_is_refused(raw: bytes):
    assert reason(raw) == "not_an_image"


def test_an_empty_body_is_no_image():
    with pytest.raises(MediaError) as refused:
        normalise(b"", TINY)
    assert (refused.value.reason, refused.value.detail) == ("not_an_image", "0 bytes")


def test_one_pixel_is_too_small():
    assert reason(encoded(photo(1, 1), "PNG"), Limits()) == "too_small"
    assert reason(encoded(photo(400, 8), "PNG"), Limits()) == "too_small"


def test_long_files_are_refused_unread():
    assert reason(encoded(photo(), "BMP"), Limits(max_bytes=1000)) == "too_large"


def test_a_jpeg_of_endless_scans_is_refused():
    raw = encoded(photo(), "JPEG", progressive=True)
    last = raw.rindex(b"\xff\xda")
    bomb = raw[:last] + raw[last:-2] * 200 + raw[-2:]
    with pytest.raises(MediaError, match="scans"):
        normalise(bomb, TINY)


def test_a_signature_with_garbage_behind_it_is_a_broken_picture():
    assert reason(b"\x89PNG\r\n\x1a\n" + b"garbage" * 20) in {"decode_error", "truncated"}
    assert reason(b"\xff\xd8\xff\xe0" + b"\0" * 60) in {"decode_error", "truncated"}


def test_a_library_that_turns_truncation_on_is_overruled(monkeypatch: pytest.MonkeyPatch):
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    raw = encoded(photo(), "JPEG")
    assert reason(raw[: len(raw) // 2]) == "truncated"


# --- what is taken, and how


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_stripped(orientation: int):
    upright = photo(48, 32)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation to the transpose that makes such a file
    turned = upright.transpose(Image.Transpose(undo[orientation])) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(turned, "PNG", exif=exif)
    assert np.array_equal(stored(raw), np.asarray(upright))
    picture = normalise(raw, TINY)
    with Image.open(io.BytesIO(picture.image)) as again:
        assert not again.getexif() and set(again.info) <= {"transparency"}
    assert (picture.width, picture.height) == upright.size
    assert (picture.original_width, picture.original_height) == turned.size


def test_orientation_of_a_jpeg_survives_the_draft_decoder():
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = encoded(photo(800, 400), "JPEG", exif=exif, quality=95)
    picture = normalise(raw, Limits(max_side=100))
    assert (picture.width, picture.height) == (50, 100)
    want = np.asarray(photo(100, 50).transpose(Image.Transpose.ROTATE_270)).astype(int)
    got = np.asarray(Image.open(io.BytesIO(picture.image))).astype(int)
    assert abs(got - want).mean() < 6


def test_metadata_does_not_reach_the_store():
    exif = Image.Exif()
    exif[0x010E] = "a secret description"
    for kind in ("JPEG", "PNG", "WEBP"):
        raw = encoded(photo(), kind, exif=exif)
        assert b"secret" in raw
        assert b"secret" not in normalise(raw, TINY).image


def test_16_bit_grey_is_scaled_not_cut():
    values = np.array([[0, 255, 256, 32_768, 65_279, 65_535]], np.uint16).repeat(3, 0)
    want = np.round(values / 257).astype(int)
    for kind in ("PNG", "TIFF", "PPM"):
        got = stored(encoded(Image.fromarray(values), kind))[..., 0].astype(int)
        assert np.abs(got - want).max() <= 1, kind


def test_a_grey_of_mean_127_keeps_its_mean():
    values = np.full((32, 32), 127 * 257, np.uint16)
    assert stored(encoded(Image.fromarray(values), "PNG")).mean() == 127


def test_16_bit_colour_is_scaled():
    samples = np.full((4, 4, 3), 0x8000, ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    assert np.abs(stored(png(4, 4, 16, 2, rows)).astype(int) - 128).max() <= 1


def test_float_pictures_are_scaled_by_their_range():
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    for values in (ramp, ramp * 255):
        got = stored(encoded(Image.fromarray(values), "TIFF"))[..., 0]
        assert np.abs(got.astype(int) - np.round(ramp * 255)).max() <= 1
    ramp[0, 0] = np.nan
    assert stored(encoded(Image.fromarray(ramp), "TIFF")).shape == (4, 4, 3)


def test_alpha_is_laid_over_white():
    picture = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    picture.putpixel((0, 0), (200, 0, 0, 255))
    picture.putpixel((1, 0), (200, 0, 0, 128))
    got = stored(encoded(picture, "PNG"))
    assert got[0, 0].tolist() == [200, 0, 0]
    assert got[3, 3].tolist() == [255, 255, 255]
    assert np.abs(got[0, 1].astype(int) - [227, 127, 127]).max() <= 1


def test_transparent_edges_do_not_bleed_when_a_picture_shrinks():
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))  # black below, and invisible
    picture.paste((255, 255, 255, 255), (16, 16, 48, 48))
    assert stored(encoded(picture, "PNG"), Limits(min_side=1, max_side=16)).min() >= 254


def test_grey_with_alpha_and_palette_with_transparency():
    grey = Image.new("LA", (4, 4), (10, 0))
    grey.putpixel((0, 0), (10, 255))
    got = stored(encoded(grey, "PNG"))
    assert got[0, 0].tolist() == [10, 10, 10] and got[1, 1].tolist() == [255, 255, 255]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((0, 0), 0)
    for kind in ("PNG", "GIF"):
        got = stored(encoded(palette, kind, transparency=1))
        assert got[0, 0].tolist() == [255, 0, 0] and got[1, 1].tolist() == [255, 255, 255], kind


@pytest.mark.parametrize(
    ("depth", "colour", "row", "key"),
    [
        (16, 2, struct.pack(">6H", 0xFF00, 0, 0, 0x1234, 0x5678, 0x9A00), b"\x12\x34\x56\x78\x9a\x00"),
        (16, 0, struct.pack(">2H", 0x0000, 0x1234), struct.pack(">H", 0x1234)),
        (4, 0, b"\x07", struct.pack(">H", 7)),
        (2, 0, b"\x10", struct.pack(">H", 1)),
        (8, 0, b"\x00\x07", struct.pack(">H", 7)),
    ],
    ids=["rgb16", "grey16", "grey4", "grey2", "grey8"],
)  # fmt: skip
def test_a_transparent_colour_is_compared_in_the_depth_of_the_file(depth, colour, row, key):
    got = stored(png(2, 1, depth, colour, b"\0" + row, (b"tRNS", key)))
    assert got[0, 1].tolist() == [255, 255, 255]
    assert got[0, 0].tolist() != [255, 255, 255]


def test_black_and_white_and_grey_and_palette_keep_their_pixels():
    flags = np.random.default_rng(1).integers(0, 2, (9, 9), dtype=np.uint8) * 255
    for mode in ("1", "L", "P"):
        got = stored(encoded(Image.fromarray(flags).convert(mode), "PNG"))
        assert np.array_equal(got, np.repeat(flags[..., None], 3, 2)), mode


def test_a_cmyk_jpeg_is_not_inverted():
    for colour, want in (((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((255, 255, 255, 0), 0)):
        got = stored(encoded(Image.new("CMYK", (16, 16), colour), "JPEG", quality=95))
        assert np.abs(got.astype(int) - want).max() <= 2


def test_lab_is_converted():
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (8, 8), (200, 30, 60)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert np.abs(stored(encoded(lab, "TIFF")).astype(int) - [200, 30, 60]).max() <= 4


def test_colours_under_a_profile_become_srgb_and_a_broken_profile_is_ignored():
    xyz = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()  # another space than the pixels'
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = np.asarray(photo())
    for profile in (srgb, xyz, b"no profile at all", b""):
        assert np.array_equal(stored(encoded(photo(), "PNG", icc_profile=profile)), plain)
    swapped = swap_primaries(srgb)
    got = stored(encoded(Image.new("RGB", (8, 8), (255, 0, 0)), "PNG", icc_profile=swapped))
    assert np.abs(got.astype(int) - [0, 255, 0]).max() <= 3


def swap_primaries(profile: bytes) -> bytes:
    """The profile with its red and green tags exchanged and another name."""
    head = bytearray(profile)
    count = struct.unpack(">I", head[128:132])[0]
    names = {bytes(head[132 + 12 * n : 136 + 12 * n]): 132 + 12 * n for n in range(count)}
    for one, other in ((b"rXYZ", b"gXYZ"), (b"rTRC", b"gTRC")):
        head[names[one] : names[one] + 4], head[names[other] : names[other] + 4] = other, one
    for text in ("sRGB".encode("utf-16-be"), b"sRGB"):
        head[:] = head.replace(text, text.replace(b"s", b"x"))
    return bytes(head)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_is_stored_and_the_frames_are_counted(kind: str):
    frames = [Image.new("RGB", (24, 24), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    raw = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    picture = normalise(raw, TINY)
    assert picture.frames == 3
    assert (stored(raw) == [255, 0, 0]).all()
    assert normalise(encoded(frames[0], kind, **options), TINY).frames == 1


def test_counting_the_frames_of_a_gif_bomb_is_bounded():
    empty = b"\x2c" + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    raw = encoded(Image.new("P", (20, 20)), "GIF")[:-1] + empty * 200_000 + b";"
    assert normalise(raw, TINY).frames == media.frames.MAX_FRAMES


def test_a_loop_of_tiff_directories_ends():
    raw = bytearray(encoded(photo(), "TIFF"))
    start = struct.unpack("<I", raw[4:8])[0]
    entries = struct.unpack("<H", raw[start : start + 2])[0]
    raw[start + 2 + 12 * entries : start + 6 + 12 * entries] = struct.pack("<I", start)
    assert normalise(bytes(raw), TINY).frames == 1


# --- resizing and storing


@pytest.mark.parametrize(
    ("size", "want"), [((1000, 500), (64, 32)), ((500, 1000), (32, 64)), ((3000, 16), (64, 1))]
)
def test_larger_pictures_shrink_to_the_long_side(size, want):
    for kind in ("JPEG", "PNG"):
        picture = normalise(encoded(photo(*size), kind), Limits(max_side=64))
        assert (picture.width, picture.height) == want
        assert (picture.original_width, picture.original_height) == size


def test_smaller_pictures_are_not_enlarged():
    picture = normalise(encoded(photo(40, 30), "PNG"), Limits(max_side=64))
    assert (picture.width, picture.height) == (40, 30)


def test_a_large_jpeg_is_decoded_at_about_the_size_that_is_wanted(monkeypatch):
    asked = []
    draft = JpegImagePlugin.JpegImageFile.draft

    def recorded(picture, mode, size):
        asked.append(size)
        found = draft(picture, mode, size)
        assert picture.size == (200, 150)  # an eighth of it, and not all of it to be made smaller
        return found

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", recorded)
    raw = encoded(photo(1600, 1200), "JPEG")
    normalise(raw, Limits(max_side=200))
    assert asked == [(200, 150)]
    asked.clear()
    normalise(raw, Limits(max_side=1600))
    assert asked == []  # small enough already


def test_the_draft_decoder_changes_little():
    big = photo(1600, 1200)
    got = stored(encoded(big, "JPEG", quality=95), Limits(max_side=200, format="png")).astype(float)
    want = np.asarray(big.resize((200, 150), Image.Resampling.LANCZOS)).astype(float)
    assert 10 * np.log10(255**2 / ((got - want) ** 2).mean()) > 38


def test_equal_pixels_in_lossless_files_are_one_picture():
    kinds = [("PNG", {}), ("PNG", {"compress_level": 0}), ("BMP", {}), ("TIFF", {"compression": "tiff_lzw"})]
    kinds += [("WEBP", {"lossless": True}), ("PPM", {}), ("PNG", {"pnginfo": None, "dpi": (300, 300)})]
    ids = {normalise(encoded(photo(), kind, **options), TINY).image_id for kind, options in kinds}
    assert len(ids) == 1


def test_equal_input_gives_equal_bytes():
    for kind in ("JPEG", "PNG", "WEBP"):
        raw = encoded(photo(), kind)
        assert normalise(raw, TINY) == normalise(raw, TINY)


def test_lossy_is_stored_as_jpeg_and_lossless_as_png_unless_told():
    cases = [
        ("JPEG", {}, "jpeg"),
        ("WEBP", {}, "jpeg"),
        ("WEBP", {"lossless": True}, "png"),
        ("GIF", {}, "png"),
    ]
    for kind, options, want in cases:
        raw = encoded(photo(), kind, **options)
        picture = normalise(raw, TINY)
        assert (picture.format, picture.original_format) == (want, kind.lower())
        assert Image.open(io.BytesIO(picture.image)).format == want.upper()
        for forced in ("png", "jpeg"):
            assert normalise(raw, Limits(min_side=1, format=forced)).format == forced


def test_limits_refuse_what_pillow_would_refuse():
    with pytest.raises(ValueError, match="max_pixels"):
        Limits(max_pixels=10**9)
    with pytest.raises(ValueError, match="max_sides"):
        Limits(max_sides=1)


def test_pixels_are_centred_on_white():
    image = normalise(encoded(Image.new("RGB", (40, 20), (10, 20, 30)), "PNG"), TINY).image
    got = media.pixels(image, 32)
    assert got.shape == (32, 32, 3) and got.dtype == np.uint8
    assert (got[:8] == 255).all() and (got[24:] == 255).all()
    assert (got[8:24] == [10, 20, 30]).all()
    assert media.pixels(image, 8)[0, 0].tolist() == [255, 255, 255]


def test_pixels_of_a_square_of_that_size_are_unchanged():
    picture = photo(32, 32)
    assert np.array_equal(
        media.pixels(normalise(encoded(picture, "PNG"), TINY).image, 32), np.asarray(picture)
    )
