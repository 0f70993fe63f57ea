"""How good a picture is to look at, by measures that need no model: contrast, sharpness, noise, bars around it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.step import Annotator

SIDE = 256
"""Longer side, in pixels, of the grey picture that all is measured on: measures do not depend on how large it is stored."""
BAR_SPREAD = 2.0
BAR_STEP = 3.0
"""A line belongs to a bar if its levels spread less than this, and its mean is this close to the outermost line's."""
LAG = 4
"""Pixels: blur over fewer is told from none."""
MOST_BAR = 0.45
"""Share of a side that a bar may take: a picture that is one colour all over has none."""


class PictureQuality(Annotator):
    """Contrast, sharpness, noise, and the bars around a picture."""

    version: ClassVar[int] = 1
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field(
                "contrast", pa.float32(), metadata={"doc": "Standard deviation of grey, in levels of 256."}
            ),
            pa.field(
                "sharpness",
                pa.float32(),
                metadata={
                    "doc": "The steepest edges, a share of the contrast within one pixel of 256: 1 is a step."
                },
            ),
            pa.field(
                "noise",
                pa.float32(),
                metadata={"doc": "Standard deviation of pixel noise, in levels of 256."},
            ),
            *(
                pa.field(
                    f"bar_{side}",
                    pa.float32(),
                    metadata={"doc": f"Share of the side that a bar takes, {side}."},
                )
                for side in ("top", "bottom", "left", "right")
            ),
        ]
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        measured = np.array([measures(grey(image.as_buffer())) for image in rows["image"]], np.float32)
        columns = measured.reshape(rows.num_rows, len(self.columns)).T
        return pa.table([rows["image_id"], *map(pa.array, columns)], names=["image_id", *self.columns.names])


def grey(image: Any) -> np.ndarray:
    """A stored picture as float32 [rows, columns], its longer side at most SIDE."""
    picture: Image.Image = Image.open(io.BytesIO(image), formats=("PNG", "JPEG"))
    picture.draft("L", (SIDE, SIDE))
    picture = picture.convert("L")
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(picture, np.float32)


def measures(pixels: np.ndarray) -> tuple[float, ...]:
    """contrast, sharpness, noise, and the four bars, of a grey picture inside its bars."""
    top, bottom = bars(pixels)
    left, right = bars(pixels.T)
    rows, columns = pixels.shape
    inside = pixels[top : rows - bottom, left : columns - right]
    shares = (top / rows, bottom / rows, left / columns, right / columns)
    return (float(inside.std()), sharpness(inside), noise(inside), *shares)


def bars(pixels: np.ndarray) -> tuple[int, int]:
    """Lines of one colour at the top and at the bottom."""
    means, spreads = pixels.mean(1), pixels.std(1)
    most = int(MOST_BAR * len(pixels))

    def thickness(means: np.ndarray, spreads: np.ndarray) -> int:
        same = (spreads < BAR_SPREAD) & (abs(means - means[0]) < BAR_STEP)
        found = len(same) if same.all() else int(np.argmin(same))
        return found if found <= most else 0

    return thickness(means, spreads), thickness(means[::-1], spreads[::-1])


def sharpness(pixels: np.ndarray) -> float:
    """1 if levels change in steps, 0 if they change in slopes alone: pixels beside each other are held against pixels
    LAG apart. A step of one pixel is seen LAG times from afar and once near by, a slope in proportion to the distance."""
    if min(pixels.shape) <= LAG:
        return 0.0
    near, far = _differences(pixels, 1), _differences(pixels, LAG)
    if far < 1e-3:
        return 0.0
    slope, step = 1 / LAG**2, 1 / LAG
    return float(np.clip((near / far - slope) / (step - slope), 0, 1))


def _differences(pixels: np.ndarray, lag: int) -> float:
    """Mean square of the differences of pixels so far apart, down and across."""
    return float(
        np.mean((pixels[lag:] - pixels[:-lag]) ** 2) + np.mean((pixels[:, lag:] - pixels[:, :-lag]) ** 2)
    )


def noise(pixels: np.ndarray) -> float:
    """What is left of the pixels when lines and slopes cancel out (J. Immerkaer, Fast Noise Variance Estimation,
    1996), over the half of the picture where that is least: textures are no noise."""
    if min(pixels.shape) < 3:
        return 0.0
    across = pixels[:, :-2] - 2 * pixels[:, 1:-1] + pixels[:, 2:]
    left = np.abs(across[:-2] - 2 * across[1:-1] + across[2:])
    quiet = np.quantile(left, 0.5)
    return float(
        quiet / 0.6745 / 6
    )  # the median of |x| of a normal x is 0.6745 of its deviation; the mask's gain is 6
