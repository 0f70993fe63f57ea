"""Captions that say too little or go on too long."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.annotators.text_stats import words
from pipeline.step import Filter


class CaptionLength(Filter):
    """Keeps a caption within these bounds; rows of other tasks pass.

    In scripts without spaces each character counts as a word.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("task", "text")
    min_characters: int = Field(1, ge=0, description="Least code points.")
    max_characters: int = Field(1000, ge=1, description="Most code points.")
    min_words: int = Field(1, ge=0, description="Least words.")
    max_words: int = Field(250, ge=1, description="Most words.")
    tasks: tuple[str, ...] = Field(("caption",), description="Tasks that are judged.")

    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        text = rows["text"].cast(pa.string())
        length, count = pc.utf8_length(text), words(text)
        fits = _all(
            pc.greater_equal(length, self.min_characters),
            pc.less_equal(length, self.max_characters),
            pc.greater_equal(count, self.min_words),
            pc.less_equal(count, self.max_words),
        )
        other_task = pc.invert(pc.is_in(rows["task"], pa.array(self.tasks, pa.string())))
        return pc.or_kleene(fits, other_task)


def _all(first: pa.ChunkedArray, *rest: pa.ChunkedArray) -> pa.ChunkedArray:
    for condition in rest:
        first = pc.and_(first, condition)
    return first
