"""How many frames a file has, without decoding them."""

from __future__ import annotations

from typing import Literal

from PIL import Image

MAX_FRAMES = 10_000
"""Frames are counted this far."""


def count(picture: Image.Image, kind: str, raw: bytes) -> int:
    """How many frames the file has; GIF and TIFF are walked here, since Pillow would parse every frame."""
    if kind == "GIF":
        return gif(raw)
    if kind == "TIFF":
        return tiff(raw)
    if kind in ("PSD", "ICO"):  # layers and sizes are not frames
        return 1
    return max(1, min(int(getattr(picture, "n_frames", 1)), MAX_FRAMES))


def gif(raw: bytes) -> int:
    at = 13 + (3 << ((raw[10] & 7) + 1) if raw[10] & 0x80 else 0)
    frames = 0
    while at < len(raw) and frames < MAX_FRAMES:
        if raw[at] == 0x2C and at + 9 < len(raw):  # image: descriptor, palette, blocks
            frames += 1
            packed = raw[at + 9]
            at += 11 + (3 << ((packed & 7) + 1) if packed & 0x80 else 0)
        elif raw[at] == 0x21:  # an extension: label, blocks
            at += 2
        else:
            break
        while at < len(raw) and raw[at]:
            at += raw[at] + 1
        at += 1
    return max(1, frames)


def tiff(raw: bytes) -> int:
    order: Literal["little", "big"] = "little" if raw[:2] == b"II" else "big"
    big = int.from_bytes(raw[2:4], order) == 43
    word, count, entry = (8, 8, 20) if big else (4, 2, 12)
    at = int.from_bytes(raw[8:16] if big else raw[4:8], order)
    seen: set[int] = set()
    while 0 < at < len(raw) and at not in seen and len(seen) < MAX_FRAMES:
        seen.add(at)
        after = at + count + entry * int.from_bytes(raw[at : at + count], order)
        at = int.from_bytes(raw[after : after + word], order)
    return max(1, len(seen))
