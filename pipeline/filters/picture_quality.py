"""Pictures that show nothing, or hardly."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter


class PictureQuality(Filter):
    """Keeps a picture with contrast, without much noise and without wide bars; needs `annotators.picture_quality`.

    The defaults drop what is blank and what is hidden in noise; sharpness is left to the corpus: drawings have
    steps, skies have none.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = tuple(
        f"picture_quality.{name}"
        for name in ("contrast", "sharpness", "noise", "bar_top", "bar_bottom", "bar_left", "bar_right")
    )
    contrast: float = Field(3.0, ge=0, description="Least standard deviation of grey, in levels.")
    sharpness: float = Field(0.0, ge=0, le=1, description="Least sharpness.")
    noise: float = Field(40.0, ge=0, description="Most noise, in levels.")
    bars: float = Field(0.5, ge=0, le=1, description="Most of a side that its two bars may take together.")

    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        column = {name.partition(".")[2]: rows[name] for name in self.reads}
        keep = pc.greater_equal(column["contrast"], self.contrast)
        keep = pc.and_kleene(keep, pc.greater_equal(column["sharpness"], self.sharpness))
        keep = pc.and_kleene(keep, pc.less_equal(column["noise"], self.noise))
        for one, other in (("bar_top", "bar_bottom"), ("bar_left", "bar_right")):
            keep = pc.and_kleene(keep, pc.less_equal(pc.add(column[one], column[other]), self.bars))
        return keep
