"""Pictures as data: URIs: small ones as they are stored, large ones as thumbnails."""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dashboards.ask import Db, ask
from storage import media

SIDE = 224
"""Longest side of a thumbnail in pixels: sharp at the 112 that the grid shows on a dense screen."""
AS_STORED = 24_000
"""Bytes up to which a small picture goes in unchanged."""
TINY = 100
"""Pictures up to this side are drawn with hard pixels, which is what a model of that size saw."""
MOST_DRAWN, LARGEST_FILE, LARGEST_SIDE = 64, 16_000_000, 8192
MOST_SHOWN = 400
"""Pictures of one page."""
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


def stored(db: Db, ids: Iterable[str | None]) -> dict[str, Shown]:
    """Those of the pictures that the store holds and that can be read, by image_id."""
    wanted = sorted({one for one in ids if one})
    if not wanted:
        return {}
    found = {row["image_id"]: shown(row["image"] or b"") for row in ask(db, "picture", ids=wanted)}
    return {image_id: picture for image_id, picture in found.items() if picture is not None}


def ids_in(content: Any) -> Iterator[str]:
    """Ids of the pictures that a page's content names, wherever they stand, but for rows that are to be hidden."""
    if isinstance(content, dict) and not content.get("hidden"):
        for name, value in content.items():
            if name in ("image_id", "held_image_id") and isinstance(value, str):
                yield value
            else:
                yield from ids_in(value)
    elif isinstance(content, list | tuple):
        for one in content:
            yield from ids_in(one)


class NoPicture(Exception):
    """What was handed in is no picture that can be looked for; the message says why."""


def looks(content: bytes) -> dict[str, str]:
    """The perceptual hashes of a picture that is not in the store, as the annotator would write them.

    Raises:
        NoPicture: it cannot be decoded, is larger than the limits allow, or shows one colour.
    """
    from pipeline.annotators import perceptual_hash

    try:
        made = media.normalise(content)
    except media.MediaError as error:
        raise NoPicture(f"this picture cannot be read: {error}") from error
    grid = perceptual_hash.shrink(memoryview(made.image), min(made.width, made.height))
    signed = {name: values[0].as_py() for name, values in perceptual_hash.signed(grid[None]).items()}
    if signed["flat"]:
        raise NoPicture("this picture is one colour all over: there is nothing to recognise")
    return {
        name: str(signed[name]) for name in ("hash", "colour_hash") if signed[name] is not None
    }  # beyond what JavaScript counts exactly


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
