"""The bytes of a picture: the encoded scene, or what its defect makes of it."""

from __future__ import annotations

import io
import random

import numpy as np
from PIL import Image

from pipeline.gallery.corpus import Picture
from pipeline.gallery.render import render
from pipeline.gallery.scene import pick

SIDE = 64
"""Pixels of a picture's side."""
RESIZED = (48, 56, 80, 96, 112)
TINY = (4, 6, 8, 10, 12)
HTML = (
    b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head>"
    b"<body><h1>Not Found</h1><p>The picture has moved.</p></body></html>\n"
)


def encoded(picture: Picture, seed: int) -> bytes:
    """The file's bytes; those of an exact copy equal the original's."""
    if picture.kind == "html":
        return HTML
    if picture.kind == "empty":
        return b""
    rng = random.Random(f"gallery {seed} picture {picture.name}")
    if picture.kind == "too_small":
        return png(render(picture.scene, pick(rng, TINY)))
    pixels = render(picture.scene, SIDE)
    if picture.kind in ("reencoded_copy", "leaked_reencoded"):
        return jpeg(pixels, 80 + int(rng.random() * 16))
    if picture.kind == "resized_copy":
        side = pick(rng, RESIZED)
        return png(np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)))
    if picture.kind == "brightened_copy":
        factor = pick(rng, (0.86, 0.9, 0.94, 1.06, 1.1, 1.14))
        return png(np.clip(pixels.astype(np.float32) * factor + 0.5, 0, 255).astype(np.uint8))
    content = png(pixels)
    if picture.kind == "truncated":
        return content[: int(len(content) * (0.2 + 0.5 * rng.random()))]
    return content


def png(pixels: np.ndarray) -> bytes:
    """uint8 [height, width, 3] as PNG, always the same bytes."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=3)
    return out.getvalue()


def jpeg(pixels: np.ndarray, quality: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return out.getvalue()
