"""Pictures as data: URIs: small ones as they are stored, large ones as thumbnails."""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
from PIL import Image

from dashboards.ask import ask

SIDE = 224
"""Longest side of a thumbnail in pixels: sharp at the 112 that the grid shows on a dense screen."""
AS_STORED = 24_000
"""Bytes up to which a small picture goes in unchanged."""
TINY = 100
"""Pictures up to this side are drawn with hard pixels, which is what a model of that size saw."""
MOST_DRAWN, LARGEST_FILE, LARGEST_SIDE = 64, 16_000_000, 8192
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Shown:
    """A picture that can be put into the page."""

    uri: str
    width: int
    height: int

    @property
    def tiny(self) -> bool:
        return max(self.width, self.height) <= TINY


def uri(content: bytes, kind: str) -> str:
    """A data: URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def shown(content: bytes) -> Shown | None:
    """A picture's bytes as something to show; None when they are no PNG or JPEG."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                kind, (width, height) = str(image.format).lower(), image.size
                if max(width, height) > LARGEST_SIDE:
                    return None
                image.load()
                if max(width, height) <= SIDE and len(content) <= AS_STORED:
                    return Shown(uri(content, kind), width, height)
                small = image.convert("RGB")
    except (*UNREADABLE, Warning):
        return None
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=82)
    return Shown(uri(out.getvalue(), "jpeg"), *small.size)


def stored(db: duckdb.DuckDBPyConnection, ids: Iterable[str | None]) -> dict[str, Shown]:
    """Those of the pictures that the store holds and that can be read, by image_id."""
    wanted = sorted({one for one in ids if one})
    if not wanted:
        return {}
    found = {row["image_id"]: shown(row["image"] or b"") for row in ask(db, "picture", ids=wanted)}
    return {image_id: picture for image_id, picture in found.items() if picture is not None}


@dataclass(frozen=True)
class Drawn:
    """A picture that the model drew, and the words it was given."""

    picture: Shown
    caption: str


def drawn(folder: Path) -> list[Drawn]:
    """The pictures that `pictures.json` (a list of {file, caption}) in an evaluation's folder names.

    What is missing, unreadable or outside the folder is left out: a report never fails for it.
    """
    try:
        listed = json.loads((folder / "pictures.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    found = []
    for entry in listed[:MOST_DRAWN] if isinstance(listed, list) else []:
        name = entry.get("file") if isinstance(entry, dict) else None
        if not isinstance(name, str) or Path(name).name != name:
            continue
        file = folder / name
        try:
            if file.is_symlink() or file.stat().st_size > LARGEST_FILE:
                continue
            picture = shown(file.read_bytes())
        except (OSError, ValueError):
            continue
        if picture is not None:
            found.append(Drawn(picture, str(entry.get("caption") or "")))
    return found
