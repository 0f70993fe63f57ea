"""Damaged pictures and random bytes: taken or refused, never a crash."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from storage.media import Limits, MediaError, normalise


def encoded(kind: str) -> bytes:
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((20, 17)).save(out, kind)
    return out.getvalue()


VALID = [encoded(kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO")]


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
