"""Where faces are, by OpenCV's YuNet, and pictures without them. The weights are the user's: none come with Millrace or
OpenCV 5."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from storage.content import content

SIDE = 320
"""Longer side, in pixels, at which faces are looked for, unless it is said otherwise."""
LEAST = 0.7
"""Confidence from which a face counts, likewise."""
BORDER = 0.25
"""What is blurred beyond a face on each side, as a share of it: hair and ears tell who it is, too."""
CELLS = 4
"""What is left of a face: so many patches of colour across, which run into each other."""

_LOCAL = threading.local()
"""A detector for each thread and file: it is set to a picture's size before each use."""


class NoFaceDetector(Exception):
    """No faces can be looked for: nothing is stored, rather than zeros, or pictures with their faces."""


def detector(model: str, least: float = LEAST, sha256: str = "", who: str = "[media] blur_faces") -> Any:
    """OpenCV's detector, made once in each thread, and again if the file is another.

    Raises:
        NoFaceDetector: there are no weights, not these, or none that OpenCV can read; `who` asked for them.
    """
    found = content(model)
    if not found:
        what = f"there is no file {model}" if model else "no weights are named"
        raise NoFaceDetector(
            f"{who}: {what}; it takes YuNet's .onnx file, of opencv_zoo/models/face_detection_yunet"
        )
    if sha256 and found != sha256:
        raise NoFaceDetector(f"{who}: {model} has sha256 {found}, not {sha256}")
    held = _LOCAL.__dict__.setdefault("detectors", {})
    if (model, found, least) not in held:
        held[model, found, least] = _load(model, least, who)
    return held[model, found, least]


@cache
def held(model: str) -> Any:
    """The detector that this process blurs by: the same to its end, whatever becomes of the file.

    Raises:
        NoFaceDetector: as `detector`.
    """
    return detector(model)


def _load(model: str, least: float, who: str) -> Any:
    import cv2

    try:
        return cv2.FaceDetectorYN.create(model, "", (SIDE, SIDE), least)
    except (cv2.error, AttributeError) as error:
        raise NoFaceDetector(
            f"{who}: OpenCV {cv2.__version__} cannot read {model} as YuNet's weights: {str(error)[:200]}"
        ) from error


def found(picture: Image.Image, by: Any, side: int = SIDE) -> np.ndarray:
    """Faces of an RGB picture: float32 [n, 5], left, top, right, bottom as shares of it, and confidence; largest first."""
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    bgr = np.ascontiguousarray(np.asarray(picture.resize(size, Image.Resampling.BILINEAR))[..., ::-1])
    by.setInputSize(size)
    _, faces = by.detect(bgr)
    if faces is None:
        return np.zeros((0, 5), np.float32)
    corners = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], 1) / np.array([*size, *size])
    corners = corners.clip(0, 1)
    order = np.argsort(-(corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]), kind="stable")
    return np.concatenate([corners, faces[:, -1:]], 1)[order].astype(np.float32)


def blurred(picture: Image.Image, boxes: np.ndarray) -> Image.Image:
    """The picture with its faces, float32 [n, 4 or more] as `found` gives them, gone: what is left of one cannot be undone."""
    out = picture.copy() if len(boxes) else picture
    for left, top, right, bottom in boxes[:, :4]:
        x, y = BORDER * (right - left), BORDER * (bottom - top)
        place = (
            max(0, int((left - x) * picture.width)),
            max(0, int((top - y) * picture.height)),
            min(picture.width, int(np.ceil((right + x) * picture.width))),
            min(picture.height, int(np.ceil((bottom + y) * picture.height))),
        )
        if place[0] < place[2] and place[1] < place[3]:
            face = picture.crop(place)
            few = face.resize((CELLS, CELLS), Image.Resampling.BOX)
            out.paste(few.resize(face.size, Image.Resampling.BICUBIC), place)
    return out
