"""A folder of different photographs with a caption each, drawn from noise and a seed."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from itertools import combinations, islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.rig import captions
from benchmarks.rig.contract import BenchmarkError
from benchmarks.rig.picture_server import scene

SCENES = 320
MOST = SCENES * (SCENES - 1) // 2
BATCH = 500


def write(folder: Path, size: int) -> Path:
    """So many 640 x 480 JPEGs of quality 90 and `captions.jsonl`, made only once.

    Raises:
        BenchmarkError: there are not so many different ones.
    """
    if size > MOST:
        raise BenchmarkError(f"{size:,} photographs: there are {MOST:,} different ones")
    if folder.exists():
        return folder
    scratch = folder.with_name(f"{folder.name}.partial")
    scratch.mkdir(parents=True, exist_ok=True)
    pairs = list(islice(combinations(range(SCENES), 2), size))
    order = np.random.default_rng(0).permutation(len(pairs))
    numbered = [(int(n), *pairs[at]) for n, at in enumerate(order)]
    numbered.sort(key=lambda one: one[1:])  # those of one scene in one process: it draws fewer
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        batches = [numbered[at : at + BATCH] for at in range(0, size, BATCH)]
        list(pool.map(partial(_some, scratch), batches))
    texts = captions.drawn(size, seed=1)
    rows = (
        {"file": name(n), "text": text, "lang": "en", "licence": "CC0-1.0"} for n, text in enumerate(texts)
    )
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (scratch / "captions.jsonl").write_text(lines, encoding="utf-8")
    return scratch.rename(folder)


def name(number: int) -> str:
    """The file of a photograph."""
    return f"{number:06d}.jpg"


_scene = lru_cache(SCENES)(scene.__wrapped__)


def _some(folder: Path, numbered: Sequence[tuple[int, int, int]]) -> None:
    for number, one, other in numbered:
        mixed = _scene(one) // 2 + _scene(other) // 2  # two scenes over each other, as in no other picture
        out = io.BytesIO()
        Image.fromarray(mixed).save(out, "JPEG", quality=90)
        (folder / name(number)).write_bytes(out.getvalue())
