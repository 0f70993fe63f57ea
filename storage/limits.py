"""What is taken of the pictures that come in, and how they are stored: the `[media]` of a configuration."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from storage import faces
from storage.content import content
from storage.settings import Settings


class Limits(Settings):
    """What is taken, and how it is stored."""

    max_bytes: int = Field(default=50 << 20, gt=0, description="Longest file taken, in bytes.")
    max_pixels: int = Field(default=64_000_000, gt=0, le=89_000_000, description="Most pixels decoded.")
    min_side: int = Field(default=16, ge=1, description="Shortest side taken, in pixels.")
    max_side: int = Field(
        default=512, ge=1, description="Larger pictures shrink to this long side, in pixels."
    )
    format: Literal["auto", "png", "jpeg"] = Field(default="auto", description="Stored encoding.")
    quality: int = Field(default=90, ge=1, le=95, description="JPEG quality.")
    trim: Literal["no", "bars", "margins"] = Field(
        default="no",
        description="Cut off: bars with a straight edge; or also grounds of one colour around it.",
    )
    panels: bool = Field(
        default=False, description="Collages and long pages are also stored in pieces, each a row of its own."
    )
    blur_faces: str = Field(
        default="",
        description="File of YuNet's weights (.onnx); faces that it finds are stored blurred. Relative to the "
        "configuration file.",
    )

    def settings(self) -> dict[str, Any]:
        """All that decides what is stored of a picture, for a fingerprint: of a file its content, wherever it lies."""
        told = self.model_dump(mode="json")
        weights = told.pop("blur_faces")
        return told | ({"blur_faces": content(weights)} if weights else {})

    def check(self) -> None:
        """Raises NoFaceDetector if faces are to be blurred and cannot be found."""
        if self.blur_faces:
            faces.held(self.blur_faces)
