"""Pictures as they come in, made uniform: judged by the header first, then upright, 8-bit RGB, no metadata.

The rules, in order:
- Only the raster formats imported below are opened: no EPS or other format that runs a program, and no format
  without a signature, since any bytes could pass for one.
- Whatever the header tells (pixels, sides) is judged before a pixel is decoded.
- The first frame counts; EXIF orientation is applied; colours under an embedded ICC profile become sRGB.
- 16-bit samples are scaled to 8 by 255/65535; alpha is laid over white; larger pictures shrink to `max_side`.
- Where the settings ask for it, uniform bars are cut off (`storage/trim.py`), and a collage or a very long page also
  gives its panels or tiles (`storage/panels.py`), each a picture of its own; and faces are blurred (`storage/faces.py`).
- What came lossless is stored as PNG and what came lossy as JPEG, so equal pixels in two lossless files give
  equal stored bytes, and one `image_id`.
"""

from __future__ import annotations

import functools
import hashlib
import io
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import (  # the plugins imported here are the allow-list
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PcxImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    PsdImagePlugin,
    QoiImagePlugin,
    SgiImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from storage import faces, frames, panels, trim
from storage.limits import Limits
from storage.trim import Box

PLUGINS = (
    JpegImagePlugin, PngImagePlugin, GifImagePlugin, WebPImagePlugin, AvifImagePlugin, MpoImagePlugin,
    BmpImagePlugin, TiffImagePlugin, Jpeg2KImagePlugin, PpmImagePlugin, IcoImagePlugin, PcxImagePlugin,
    PsdImagePlugin, QoiImagePlugin, SgiImagePlugin,
)  # fmt: skip
FORMATS = (
    "JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "JPEG2000", "PPM", "ICO", "PCX", "PSD", "QOI", "SGI",
)  # fmt: skip
_ENDINGS = (
    "jpg jpeg jpe jfif mpo png apng gif webp avif avifs bmp dib tif tiff jp2 j2k jpx j2c jpc "
    "pbm pgm ppm pnm pfm ico pcx psd qoi sgi rgb rgba bw"
)
EXTENSIONS = frozenset(_ENDINGS.split())
"""File name endings of these formats, lower case, without the dot."""

LOSSY = frozenset({"JPEG", "MPO", "AVIF", "JPEG2000"})
MAX_SCANS = 100
"""Progressive scans a JPEG may have; real ones have about ten, each costs a pass over the whole picture."""
MAX_PASSES = 16
"""Passes over a picture of `max_pixels`; smaller ones may have more scans."""
MAX_PROFILE = 4 << 20
"""Longer ICC profiles are ignored."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to what undoes it."""


class MediaError(Exception):
    """A picture that cannot be taken; `reason` is one word for the ledger, `detail` says more.

    Reasons: too_large, not_an_image, too_many_pixels, too_small, truncated, unsupported_mode, decode_error.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Picture:
    """A picture as it is stored: one row of the `images` table, without its part."""

    image_id: str
    image: bytes
    width: int
    height: int
    format: str
    frames: int
    original_mode: str
    original_format: str
    original_width: int
    original_height: int
    original_bytes: int
    box: Box | None = None
    """What was taken of the upright original, in its pixels; None for all of it. Not stored."""
    panels: tuple[Picture, ...] = ()
    """Its pieces, in reading order, if there are any. Not stored here."""


def normalise(raw: bytes, limits: Limits = Limits()) -> Picture:
    """Judges, decodes and re-encodes a picture; equal input gives equal bytes.

    Raises:
        MediaError: with the reason that it is not taken.
    """
    picture = _open(raw, limits)
    mode, (width, height), kind = picture.mode, picture.size, str(picture.format)
    try:
        taken = [(_discreet(one, limits), box) for one, box in _upright_rgb(picture, limits)]
        encoding = limits.format if limits.format != "auto" else _encoding(picture, kind, raw)
    except faces.NoFaceDetector:  # no verdict on this file
        raise
    except Exception as error:  # a decoder may raise anything; each is a verdict on this file only
        raise verdict(error) from error
    many = frames.count(picture, kind, raw)
    whole, *pieces = (
        _stored(one, encoding, limits.quality, many, mode, kind.lower(), width, height, len(raw), box)
        for one, box in taken
    )
    return replace(whole, panels=tuple(pieces))


def _discreet(picture: Image.Image, limits: Limits) -> Image.Image:
    """The picture as it may be seen: its faces blurred, if that is asked for."""
    if not limits.blur_faces:
        return picture
    detector = faces.held(limits.blur_faces)
    return faces.blurred(picture, faces.found(picture, detector, max(faces.SIDE, *picture.size)))


def _stored(picture: Image.Image, encoding: str, quality: int, many: int, *original: Any) -> Picture:
    image = _encode(picture, encoding, quality)
    digest = hashlib.sha256(image).hexdigest()
    return Picture(digest, image, picture.width, picture.height, encoding, many, *original)


def pixels(image: bytes, size: int) -> np.ndarray:
    """A stored picture as uint8 [size, size, 3]: scaled to fit, centred on white.

    Raises:
        MediaError: the bytes are no picture.
    """
    try:
        opened = Image.open(io.BytesIO(image), formats=("PNG", "JPEG"))
        opened.draft(None, (size, size))
        picture = opened.convert("RGB")
    except Exception as error:
        raise verdict(error) from error
    scale = size / max(picture.size)
    fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if fitted != picture.size:
        picture = picture.resize(fitted, Image.Resampling.BICUBIC)
    if fitted == (size, size):
        return np.array(picture)
    square = np.full((size, size, 3), 255, np.uint8)
    left, top = (size - fitted[0]) // 2, (size - fitted[1]) // 2
    square[top : top + fitted[1], left : left + fitted[0]] = np.asarray(picture)
    return square


# --- header


def _open(raw: bytes, limits: Limits) -> Image.Image:
    """Reads the header and holds it against the limits; no pixel is decoded."""
    if not raw:
        raise MediaError("not_an_image", "0 bytes")
    if len(raw) > limits.max_bytes:
        raise MediaError("too_large", f"{len(raw)} bytes, over {limits.max_bytes}")
    _set_pillow()
    try:
        picture = Image.open(io.BytesIO(raw), formats=FORMATS)
    except UnidentifiedImageError:
        raise _unidentified(raw) from None
    except Exception as error:
        raise verdict(error) from error
    width, height = picture.size
    if width * height > limits.max_pixels:
        raise MediaError("too_many_pixels", f"{width} x {height}, over {limits.max_pixels} pixels")
    if min(width, height) < limits.min_side:
        raise MediaError("too_small", f"{width} x {height}, under {limits.min_side} pixels")
    scans = _scans(raw) if picture.format in ("JPEG", "MPO") else 0
    if scans > MAX_SCANS or scans * width * height > MAX_PASSES * limits.max_pixels:
        raise MediaError("decode_error", f"{scans} progressive scans of {width} x {height} pixels")
    return picture


def _scans(raw: bytes) -> int:
    """Scans of a JPEG, by their markers: `raw.count` takes a tenth of the whole decoding for two bytes."""
    found = np.frombuffer(raw, np.uint8)
    return int(np.count_nonzero((found[:-1] == 0xFF) & (found[1:] == 0xDA)))


def _set_pillow() -> None:
    """Pillow fills up truncated files if any library in this process asked it to: here they are refused.

    Its warnings are either a verdict (a bomb in a container) or nothing to a user.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    for action, category in (("ignore", UserWarning), ("error", Image.DecompressionBombWarning)):
        if not any(f[0] == action and f[2] is category for f in warnings.filters):
            warnings.filterwarnings(action, category=category, module=r"PIL\.")  # type: ignore[arg-type]


def _unidentified(raw: bytes) -> MediaError:
    for name in FORMATS:
        accept = Image.OPEN[name][1]
        if accept and accept(raw[:16]):
            return MediaError("decode_error", f"begins as {name}, but its header cannot be read")
    return MediaError("not_an_image", "none of the formats that are read")


def verdict(error: Exception) -> MediaError:
    """The reason for what a decoder raised."""
    detail = f"{type(error).__name__}: {str(error)[:200]}"
    text = detail.lower()
    if isinstance(error, MediaError):
        return error
    if isinstance(error, MemoryError) or any(sign in text for sign in ("out of memory", "encoder error -9")):
        return MediaError("out_of_memory", "the decoder's limit")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return MediaError("too_many_pixels", str(error)[:200])
    if isinstance(error, EOFError) or any(sign in text for sign in ("truncated", "not enough")):
        return MediaError("truncated", detail)
    if any(sign in text for sign in ("unsupported", "not supported", "unimplemented", "unknown raw mode")):
        return MediaError("unsupported_mode", detail)
    return MediaError("decode_error", detail)


# --- pixels


def _upright_rgb(picture: Image.Image, limits: Limits) -> list[tuple[Image.Image, Box | None]]:
    """Upright RGB of the picture and of its panels, each with what it took of the original if that is not all."""
    profile, side, full = picture.info.get("icc_profile"), limits.max_side, max(picture.size)
    if picture.format == "PNG":
        _true_key(picture)
    wanted = panels.decoded_side(picture.size, side) if limits.panels else side
    if full > wanted:
        picture.draft(None, _fit(picture.size, wanted))  # JPEG only: decodes at 1/2, 1/4 or 1/8
    picture.load()
    turn = UPRIGHT.get(_orientation(picture))
    small = _eight_bit(picture)
    if limits.trim == "no" and not limits.panels:
        rgb = _finished(small, profile, side)
        return [(rgb.transpose(turn) if turn is not None else rgb, None)]
    upright = small.transpose(turn) if turn is not None else small
    pixels = np.asarray(_over_white(upright).convert("RGB"))
    whole: Box = (0, 0, *upright.size)
    inside = trim.box(pixels, limits.trim == "margins") if limits.trim != "no" else whole
    scale = full / max(upright.size)
    return [
        (
            _finished(upright.crop(box) if box != whole else upright, profile, side),
            (round(box[0] * scale), round(box[1] * scale), round(box[2] * scale), round(box[3] * scale))
            if box != whole
            else None,
        )
        for box in (inside, *(panels.boxes(pixels) if limits.panels else ()))
    ]


def _finished(picture: Image.Image, profile: bytes | None, max_side: int) -> Image.Image:
    if max(picture.size) > max_side:
        picture = _shrunk(picture, _fit(picture.size, max_side))
    return _to_srgb(_over_white(picture), profile)


def _shrunk(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at a smaller size. By less than half (what a JPEG's draft leaves to do) four neighbours tell each pixel,
    and OpenCV takes 0.17 ms where Pillow takes 0.62, at equal quality; by more, an area filter looks at all of them."""
    if picture.width < 2 * size[0] and picture.height < 2 * size[1] and picture.mode in ("L", "RGB"):
        import cv2

        return Image.fromarray(cv2.resize(np.asarray(picture), size, interpolation=cv2.INTER_LINEAR))
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


def _fit(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    scale = max_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(0x0112, 1))
    except Exception:  # broken EXIF is no reason to lose the picture
        return 1


def _true_key(picture: Image.Image) -> None:
    """A PNG's transparent colour is given in the file's bit depth; Pillow compares it with 8-bit samples."""
    key, raw_mode = picture.info.get("transparency"), picture.tile[0][3] if picture.tile else ""  # type: ignore
    if isinstance(key, tuple) and raw_mode == "RGB;16B":
        picture.info["transparency"] = tuple(value >> 8 for value in key)
    elif isinstance(key, int) and raw_mode in ("L;2", "L;4"):
        picture.info["transparency"] = key * (85 if raw_mode == "L;2" else 17)


def _eight_bit(picture: Image.Image) -> Image.Image:
    """The picture in L, RGB, RGBA, LA or CMYK, 8 bits a sample."""
    mode, key = picture.mode, picture.info.get("transparency")
    if mode[0] in "IF":
        grey = Image.fromarray(_scaled(picture))
        if isinstance(key, int):
            grey.putalpha(Image.fromarray(np.where(np.asarray(picture) == key, 0, 255).astype(np.uint8)))
        return grey
    if mode in ("L", "RGB", "CMYK", "RGBA", "LA") and not (key is not None and mode in ("L", "RGB")):
        return picture
    if mode == "LAB":
        return _lab_to_srgb(picture)
    return picture.convert("RGBA" if picture.has_transparency_data else "L" if mode == "1" else "RGB")


def _scaled(picture: Image.Image) -> np.ndarray:
    """uint8 of other samples: 16 bits by 255/65535, floats in 0..1 by 255, else by the range found."""
    values = np.asarray(picture)
    if values.dtype == np.uint16 or (picture.mode == "I" and values.min() >= 0 and values.max() <= 65535):
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if picture.mode == "F" and low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if high <= 1 else 255.0
    scaled = (values.astype(np.float64) - low) * (255 / ((high - low) or 1))
    return np.nan_to_num(scaled, nan=255.0, posinf=255.0, neginf=0.0).clip(0, 255).round().astype(np.uint8)


def _over_white(picture: Image.Image) -> Image.Image:
    if picture.mode not in ("RGBA", "LA"):
        return picture
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture.convert("RGB"), mask=picture.getchannel("A"))
    return white


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB of an L, RGB or CMYK picture; a profile that does not fit or cannot be read is ignored."""
    transform = None
    if profile and len(profile) <= MAX_PROFILE:
        transform = _transform(profile, picture.mode)
    if transform is not None:
        return ImageCms.applyTransform(picture, transform) or picture.convert("RGB")
    return picture.convert("RGB")


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From this profile to sRGB, or None where there is nothing to do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if {"GRAY": "L"}.get(space, space) != mode:
            return None
        if (source.profile.profile_description or "").lower().startswith("srgb"):
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except Exception:
        return None


def _lab_to_srgb(picture: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.applyTransform(picture, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    if converted is None:
        raise MediaError("unsupported_mode", "LAB")
    return converted


# --- storing


def _encoding(picture: Image.Image, kind: str, raw: bytes) -> Literal["png", "jpeg"]:
    lossy = (
        kind in LOSSY
        or (kind == "WEBP" and b"VP8L" not in raw)
        or (kind == "TIFF" and picture.info.get("compression") == "jpeg")
    )
    return "jpeg" if lossy else "png"


def _encode(picture: Image.Image, encoding: str, quality: int) -> bytes:
    picture.info = {}  # nothing of the original's metadata goes along
    out = io.BytesIO()
    if encoding == "png":
        picture.save(out, "PNG", compress_level=1)
    else:
        picture.save(out, "JPEG", quality=quality)
    return out.getvalue()
