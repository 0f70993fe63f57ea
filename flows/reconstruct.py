"""What the image tokenizer keeps of any pictures: how far they are from themselves once they went through it, and how they
look then. Nothing that is drawn can be better than that."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from flows.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from flows.printing import show

SHOWN, SCALE = 24, 3
"""Pictures on the sheet, and how much they are enlarged."""


def reconstruct(
    folder: Annotated[Path, typer.Argument(help="A folder of pictures, or one picture.")],
    most: Annotated[
        int, typer.Option(min=1, help="Pictures to look at, drawn by the hash of their names.")
    ] = 512,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to show some of them, each above what became of it.")
    ] = Path("reconstructed.png"),
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Says what the store's image tokenizer keeps of pictures that it may never have seen.

    Example: millrace reconstruct ~/photographs
    """
    show(run(config, folder, most, output), as_json)


def run(config: Path, folder: Path, most: int, output: Path) -> dict[str, Any]:
    """Mean PSNR in dB at the tokenizer's size, of how many pictures, and the codes in use.

    Raises:
        SourceError: no such folder, or no picture in it that can be read.
        TokenizerError: the store has no image tokenizer yet.
    """
    from flows import tokenizers
    from flows.config import read
    from flows.progress import bar

    settings = read(config)
    image = tokenizers.current(settings.open_store())["image_tokenizer"]
    chosen = files(folder, most)
    with bar("read", len(chosen), "pictures") as shown:
        found = []
        for path in chosen:
            if (one := pixels(path, image.config.size)) is not None:
                found.append(one)
            shown.advance()
    if not found:
        raise _nothing(folder)
    pictures = np.stack(found)
    some = pictures[:SHOWN]
    sheet(some, image.decode(image.encode(some)), output)
    quality = image.quality(pictures)
    return {
        "pictures": len(pictures),
        "unreadable": len(chosen) - len(pictures),
        "size": image.config.size,
        "psnr_db": round(quality["psnr"], 2),
        "codes_used": round(quality["usage"], 4),
        "tokenizer": image.id,
        "shown": str(output),
    }


def files(folder: Path, most: int) -> list[Path]:
    """Pictures below a folder: so many, the same ones every time."""
    from pipeline.step import digest
    from storage.media import EXTENSIONS

    if folder.is_file():
        return [folder]
    found = [
        path for path in folder.rglob("*") if path.suffix.lower().lstrip(".") in EXTENSIONS and path.is_file()
    ]
    if not found:
        raise _nothing(folder)
    found.sort(key=lambda path: digest(path.relative_to(folder).as_posix()))
    return found[:most]


def pixels(path: Path, size: int) -> np.ndarray | None:
    """The picture as the network would see it, None if it cannot be read."""
    from storage import media
    from storage.limits import Limits

    try:
        return media.pixels(media.normalise(path.read_bytes(), Limits()).image, size)
    except media.MediaError:
        return None


def sheet(pictures: np.ndarray, through: np.ndarray, output: Path) -> None:
    """Pictures in a row, each above what became of it."""
    from PIL import Image

    rows = [np.concatenate(list(row), axis=1) for row in (pictures, through)]
    grid = np.concatenate(rows).repeat(SCALE, 0).repeat(SCALE, 1)
    output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).save(output)


def _nothing(folder: Path) -> Exception:
    from pipeline.errors import SourceError

    return SourceError(
        f"{folder}: no picture there that can be read; name a folder of pictures, or one picture"
    )
