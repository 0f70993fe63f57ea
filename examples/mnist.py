"""Writes the handwritten digits of mnist.npz as Parquet, which examples/mnist.toml reads.

    python examples/mnist.py $MILLRACE_REAL_DATA/mnist/mnist.npz somewhere/mnist.parquet

Columns: key ("train/00017"), image (PNG, 28 x 28), label ("0" to "9"), split, licence.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

LICENCE = "CC-BY-SA-3.0"
"""As Keras states it for the data of LeCun, Cortes and Burges."""


def png(pixels: np.ndarray) -> bytes:
    """uint8 [28, 28] as a PNG."""
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()


def main(source: Path, target: Path) -> None:
    """Writes both splits."""
    data = np.load(source, allow_pickle=False)
    parts = []
    for split in ("train", "test"):
        images, labels = data[f"x_{split}"], data[f"y_{split}"]
        columns = {
            "key": [f"{split}/{i:05d}" for i in range(len(images))],
            "image": [png(one) for one in images],
            "label": labels.astype(str).tolist(),
            "split": [split] * len(images),
            "licence": [LICENCE] * len(images),
        }
        parts.append(pa.table(columns))
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(parts), target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
