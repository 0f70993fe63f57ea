"""A small corpus with a few rows that somebody wants to be forgotten, and what the flows make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.flows import toy

SECRET = "Zebulon Quirke asleep under the violet zeppelin of Tarnholm"
HELD = "Ottoline Vex paints a crooked lighthouse beside the salt works"
GUESTS, HELD_OUT = 24, 8
CONFIG = f"""\
[store]
path = "store"
[[sources]]
use = "sources.folder"
name = "guests"
path = "data/guests"
shard_rows = 8
licence = "CC0-1.0"
[[sources]]
use = "sources.folder"
name = "heldout"
path = "data/heldout"
held_out = true
[[annotators]]
use = "annotators.perceptual_hash"
[[gathers]]
use = "gathers.near_duplicates"
[[gathers]]
use = "gathers.decontaminate"
[splits]
test = 0.0
validation = 0.0
{toy.tokenizers(512, 2)}[train]
steps = 12
threads = 1
checkpoint_every = 3
log_every = 3
{toy.NETWORK}[train.batch]
rows = 4
row_length = 256
"""


def drawn(seed: int, side: int = 96) -> Image.Image:
    """A picture of its own: a few coarse patches, and lines across them."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (5, 5, 3), np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    fine = rng.integers(-20, 20, (side, side, 3))
    return Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8))


def put(folder: Path, name: str, image: Image.Image, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    image.save(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text(text)
    return folder / f"{name}.png"


def write(path: Path) -> None:
    """The pictures, their texts, and the configuration."""
    for number in range(GUESTS):
        text = SECRET if number == 3 else f"guest number {number} waves a flag with {number * 7 + 1} stripes"
        put(path / "data/guests", f"g{number:02d}", drawn(number), text)
    for number in range(HELD_OUT):
        text = HELD if number == 2 else f"held out {number} walks along a wall with {number * 5 + 2} windows"
        put(path / "data/heldout", f"h{number:02d}", drawn(1000 + number), text)
    (path / "millrace.toml").write_text(CONFIG)
