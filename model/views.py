"""Pictures as another hand might have drawn them: in other places, colours and strokes, for a model that is to read them.

A small corpus shows each thing once, and a model learns that drawing by heart. The same picture moved, turned, recoloured,
outlined or smoothed asks for what stays (augmentation; Shorten and Khoshgoftaar, "A survey on Image Data Augmentation for
Deep Learning", 2019). Views are made once for a snapshot, from stored pictures, and kept as codes beside the store.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageFilter

from model.corpus import Corpus
from model.image_tokenizer import ImageTokenizer
from storage import media
from storage.snapshot import Snapshot

LOG = logging.getLogger(__name__)
VERSION = 1
"""Raised when the same draws give other pictures."""
FINER = 2
"""Pictures are altered at so many times the side that is encoded."""
AT_ONCE = 256
WHITE = (255, 255, 255)


def encoded(
    snapshot: Snapshot, corpus: Corpus, tokenizer: ImageTokenizer, number: int, seed: int
) -> np.ndarray | None:
    """Codes of each picture's further views: int32 `[number - 1, pictures, codes]`; the first of the number is the picture
    itself, and None says that there is no other. Made once; what was forgotten keeps its padding."""
    if number == 1 or not len(corpus.codes):
        return None
    store = snapshot.store
    told = [snapshot.content_hash, snapshot.image_tokenizer, corpus.codes.shape, number, seed, VERSION]
    name = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
    file = store.path / "cache" / f"views-{name}.npy"
    with store.lock("views"):  # of several workers one makes them
        if not file.is_file():
            LOG.info("making %d views of %d pictures, once", number - 1, len(corpus.codes))
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(file, snapshot, corpus, tokenizer, number, seed)
        return np.load(file, mmap_mode="r").view(np.ndarray)


def _write(
    file: Path,
    snapshot: Snapshot,
    corpus: Corpus,
    tokenizer: ImageTokenizer,
    number: int,
    seed: int,
) -> None:
    scratch = file.with_name(f".{file.name}")
    made = np.lib.format.open_memmap(scratch, "w+", np.int32, (number - 1, *corpus.codes.shape))
    made[:] = corpus.codes
    place = {name.decode(): at for at, name in enumerate(corpus.image_ids) if not corpus.gone_picture[at]}
    with snapshot.connect() as db:
        db.register("wanted", pa.table({"image_id": list(place)}))
        for batch in db.sql(
            "SELECT image_id, image FROM images SEMI JOIN wanted USING (image_id)"
        ).to_arrow_reader(AT_ONCE):
            ids = batch["image_id"].to_pylist()
            whole = [media.pixels(image, FINER * tokenizer.size) for image in batch["image"].to_pylist()]
            for view in range(1, number):
                shown = [altered(one, draws(seed, view, name)) for one, name in zip(whole, ids, strict=True)]
                made[view - 1, [place[name] for name in ids]] = tokenizer.encode(np.stack(shown))
    made.flush()
    scratch.replace(file)


def draws(seed: int, view: int, image_id: str) -> np.random.Generator:
    """What a view of a picture is drawn by: these three alone."""
    name = int.from_bytes(hashlib.blake2b(image_id.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng([seed, view, name])


def altered(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A view of uint8 `[2n, 2n, 3]` on white: uint8 `[n, n, 3]`."""
    image = placed(coloured(stroked(Image.fromarray(picture), draw), draw), draw)
    side = len(picture) // FINER
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def stroked(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """In other strokes: flat colours within dark outlines, or outlines alone, or none, or all blurred; often as it is."""
    kind = draw.random()
    if kind < 0.35:
        return outlined(image, draw)
    if kind < 0.6:
        smooth = image.filter(ImageFilter.MaxFilter(int(draw.choice([3, 5]))))
        return smooth.filter(ImageFilter.MedianFilter(5))
    return image.filter(ImageFilter.GaussianBlur(draw.uniform(0.5, 2))) if kind < 0.7 else image


def outlined(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Dark lines where the picture's greys change, on a few flat colours or on white."""
    colours = int(draw.integers(3, 7))
    flat = (
        image.quantize(colours, method=Image.Quantize.MEDIANCUT).convert("RGB")
        if draw.random() < 0.7
        else image.filter(ImageFilter.MedianFilter(5))
    )
    grey = np.asarray(flat.convert("L"), np.float32)
    steep = np.abs(np.diff(grey, axis=0, prepend=grey[:1])) + np.abs(
        np.diff(grey, axis=1, prepend=grey[:, :1])
    )
    line = Image.fromarray(((steep > draw.uniform(12, 60)) * 255).astype(np.uint8)).filter(
        ImageFilter.MaxFilter(3)
    )
    if draw.random() < 0.4:
        line = line.filter(ImageFilter.MaxFilter(3))
    ink = Image.new("RGB", image.size, (int(draw.integers(0, 50)),) * 3)
    ground = Image.new("RGB", image.size, WHITE) if draw.random() < 0.35 else flat
    return Image.composite(ink, ground, line.filter(ImageFilter.GaussianBlur(0.6)))


def coloured(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """In other colours: hues moved, fuller or paler, lighter or darker, or grey."""
    if draw.random() < 0.7:
        hue, full, value = image.convert("HSV").split()
        turn, more, power = (
            int(draw.normal(0, 10)),
            draw.uniform(0.3, 1.6),
            float(np.exp(draw.normal(0, 0.35))),
        )
        moved = hue.point([(at + turn) % 256 for at in range(256)])
        fuller = full.point([min(255, int(at * more)) for at in range(256)])
        lighter = value.point([int(255 * (at / 255) ** power) for at in range(256)])
        image = Image.merge("HSV", (moved, fuller, lighter)).convert("RGB")
    return image.convert("L").convert("RGB") if draw.random() < 0.1 else image


def placed(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Elsewhere: larger or smaller, narrower or wider, turned, slanted, moved, one in seven mirrored; white around it."""
    scale, narrow = draw.uniform(0.8, 1.1), float(np.exp(draw.normal(0, 0.1)))
    turn, slant, side = draw.normal(0, 0.15), draw.normal(0, 0.1), image.width
    mirror = -1 if draw.random() < 0.15 else 1
    rotated = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = rotated @ np.array([[mirror, slant], [0, 1]]) @ np.diag([1 / (scale * narrow), narrow / scale])
    centre = np.full(2, side / 2)
    origin = centre - matrix @ (centre + draw.normal(0, 0.04 * side, 2))
    terms = (*matrix[0], origin[0], *matrix[1], origin[1])
    return image.transform(
        image.size, Image.Transform.AFFINE, terms, Image.Resampling.BILINEAR, fillcolor=WHITE
    )
