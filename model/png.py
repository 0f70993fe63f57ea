"""Pictures as files, for whoever looks at them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image


def png(pixels: np.ndarray, side: tuple[int, int] | None = None) -> bytes:
    """A PNG of uint8 `[h, w, 3]`, enlarged pixel by pixel if another size (width, height) is asked for."""
    picture, out = Image.fromarray(pixels), io.BytesIO()
    if side is not None and side != picture.size:
        picture = picture.resize(side, Image.Resampling.NEAREST)
    picture.save(out, "PNG")
    return out.getvalue()


def data_url(image: bytes) -> str:
    """A PNG as a `data:` URL."""
    return "data:image/png;base64," + base64.b64encode(image).decode()
