"""Where faces are, by OpenCV's YuNet, whose weights the user brings: none come with Millrace or with OpenCV 5."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image
from pydantic import Field

from pipeline.step import Annotator, StepError, content

_LOCAL = threading.local()
"""A detector for each thread and file: it is set to a picture's size before each use."""


class NoFaceDetector(StepError):
    """No faces can be looked for: nothing is stored, rather than zeros."""


class Faces(Annotator):
    """Counts faces, and says where they are."""

    version: ClassVar[int] = 1
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image",)
    files: ClassVar[tuple[str, ...]] = ("model",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("count", pa.int32(), metadata={"doc": "Faces that were found."}),
            pa.field(
                "boxes",
                pa.list_(pa.float32()),
                metadata={
                    "doc": "Left, top, right, bottom of each, as shares of width and height; largest first."
                },
            ),
            pa.field(
                "largest", pa.float32(), metadata={"doc": "Share of the picture that the largest one covers."}
            ),
            pa.field("surest", pa.float32(), metadata={"doc": "Confidence of the surest one, 0 to 1."}),
        ]
    )
    model: str = Field(
        "",
        description="File of YuNet's weights (face_detection_yunet_….onnx of OpenCV's model zoo); relative to the "
        "configuration file.",
    )
    sha256: str = Field(
        "", pattern="^([0-9a-f]{64})?$", description="Of that file, if it is to be held to one."
    )
    least: float = Field(0.7, gt=0, lt=1, description="Confidence from which a face counts.")
    side: int = Field(
        320, ge=64, le=2048, description="Longer side, in pixels, at which faces are looked for."
    )

    def check(self) -> None:
        self._detector()

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        detector = self._detector()
        found = [self._found(image.as_buffer(), detector) for image in rows["image"]]
        areas = [((f[:, 2] - f[:, 0]) * (f[:, 3] - f[:, 1])).max(initial=0) for f in found]
        columns = [
            [len(f) for f in found],
            [f[:, :4].ravel().tolist() for f in found],
            areas,
            [f[:, 4].max(initial=0) for f in found],
        ]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self.columns, strict=True)]
        return pa.table([rows["image_id"], *arrays], names=["image_id", *self.columns.names])

    def _found(self, image: Any, detector: Any) -> np.ndarray:
        """Faces of a stored picture: float32 [n, 5], left, top, right, bottom as shares, and confidence; largest first."""
        picture = Image.open(io.BytesIO(image), formats=("PNG", "JPEG"))
        picture.draft("RGB", (self.side, self.side))
        rgb = picture.convert("RGB")
        scale = self.side / max(rgb.size)
        size = (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale)))
        bgr = np.ascontiguousarray(np.asarray(rgb.resize(size, Image.Resampling.BILINEAR))[..., ::-1])
        detector.setInputSize(size)
        _, faces = detector.detect(bgr)
        if faces is None:
            return np.zeros((0, 5), np.float32)
        corners = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], 1) / np.array([*size, *size])
        corners = corners.clip(0, 1)
        order = np.argsort(-(corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]), kind="stable")
        return np.concatenate([corners, faces[:, -1:]], 1)[order].astype(np.float32)

    def _detector(self) -> Any:
        """OpenCV's detector, made once in each thread.

        Raises:
            NoFaceDetector: there are no weights, not these, or none that OpenCV can read.
        """
        held = _LOCAL.__dict__.setdefault("detectors", {})
        key = (self.model, self._weights(), self.least)
        if key not in held:
            held[key] = _load(self.model, self.least)
        return held[key]

    def _weights(self) -> str:
        """sha256 of the weights, if they are there and those that were asked for."""
        found = content(self.model)
        if not found:
            what = f"there is no file {self.model}" if self.model else "no weights are named"
            raise NoFaceDetector(
                f"annotators.faces: {what}; set model to YuNet's .onnx file, of opencv_zoo/models/face_detection_yunet"
            )
        if self.sha256 and found != self.sha256:
            raise NoFaceDetector(f"annotators.faces: {self.model} has sha256 {found}, not {self.sha256}")
        return found


def _load(model: str, least: float) -> Any:
    import cv2

    try:
        return cv2.FaceDetectorYN.create(model, "", (320, 320), least)
    except (cv2.error, AttributeError) as error:
        raise NoFaceDetector(
            f"annotators.faces: OpenCV {cv2.__version__} cannot read {model} as YuNet's weights: {str(error)[:200]}"
        ) from error
