"""Where faces are, by OpenCV's YuNet, whose weights the user brings: none come with Millrace or with OpenCV 5."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
from PIL import Image
from pydantic import Field

from pipeline.step import Annotator
from storage import faces


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
    least: float = Field(faces.LEAST, gt=0, lt=1, description="Confidence from which a face counts.")
    side: int = Field(
        faces.SIDE, ge=64, le=2048, description="Longer side, in pixels, at which faces are looked for."
    )

    def check(self) -> None:
        self._detector()

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        detector = self._detector()
        found = [faces.found(self._opened(image.as_buffer()), detector, self.side) for image in rows["image"]]
        areas = [((f[:, 2] - f[:, 0]) * (f[:, 3] - f[:, 1])).max(initial=0) for f in found]
        columns = [
            [len(f) for f in found],
            [f[:, :4].ravel().tolist() for f in found],
            areas,
            [f[:, 4].max(initial=0) for f in found],
        ]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self.columns, strict=True)]
        return pa.table([rows["image_id"], *arrays], names=["image_id", *self.columns.names])

    def _opened(self, image: Any) -> Image.Image:
        picture = Image.open(io.BytesIO(image), formats=("PNG", "JPEG"))
        picture.draft("RGB", (self.side, self.side))
        return picture.convert("RGB")

    def _detector(self) -> Any:
        return faces.detector(self.model, self.least, self.sha256, "annotators.faces")
