"""Damaged pictures and random bytes: taken or refused, never a crash."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from storage.limits import Limits
from storage.media import MediaError, normalise


def encoded(kind: str, **options: Any) -> bytes:
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((20, 17))
    out = io.BytesIO()
    picture.convert("P" if kind == "PCX" else "RGB").save(out, kind, **options)
    return out.getvalue()


def two_frames(kind: str) -> bytes:
    other = Image.new("RGB", (20, 17), (9, 90, 200))
    return encoded(kind, save_all=True, append_images=[other])


PSD = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 5, 8, 3) + bytes(12) + b"\0\0" + bytes(range(60))
"""A picture of 5 x 4 in three channels, not compressed: Pillow reads the format and does not write it."""
QOI = b"qoif" + struct.pack(">IIBB", 4, 4, 3, 0) + b"\xfe\x09\x5a\xc8" + b"\xce" + bytes(7) + b"\1"
"""One colour, run on over 4 x 4."""
VALID = [
    encoded(kind)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF", "SGI")
]
VALID += [
    encoded("PCX"),
    encoded("JPEG", progressive=True),
    encoded("TIFF", compression="tiff_lzw"),
    PSD,
    QOI,
]
VALID += [two_frames(kind) for kind in ("GIF", "WEBP", "PNG", "TIFF", "MPO")]


@pytest.mark.parametrize("place", range(len(VALID)))
def test_what_is_damaged_below_was_whole(place: int):
    assert normalise(VALID[place], Limits(min_side=1)).width >= 4


@settings(max_examples=300, deadline=None)
@given(
    raw=st.sampled_from(VALID),
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12),
    keep=st.floats(0, 1),
)
def test_damaged_files_are_taken_or_refused_and_never_crash(raw: bytes, edits, keep: float):
    damaged = bytearray(raw[: max(1, int(len(raw) * keep))] if keep < 0.5 else raw)
    for at, value in edits:
        damaged[at % len(damaged)] = value
    try:
        picture = normalise(bytes(damaged), Limits(min_side=1, max_side=64, max_pixels=1_000_000))
    except MediaError as error:
        assert error.reason
    else:
        assert max(picture.width, picture.height) <= 64
        assert len(picture.image_id) == 64


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(raw: bytes):
    with pytest.raises(MediaError):
        normalise(raw, Limits(min_side=1))
