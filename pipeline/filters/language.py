"""Texts in other languages than wanted, or than their source states."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.annotators.language import UNKNOWN
from pipeline.step import Filter


class Language(Filter):
    """Keeps a row whose text is in a wanted language and does not contradict the stated one; needs `annotators.language`.

    A text whose language is unknown, or less certain than `min_confidence`, is judged by the language that is stated.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("lang", "language.lang", "language.confidence", "language.agrees")
    reason: ClassVar[str] = "language"
    languages: tuple[str, ...] = Field((), description='Languages to keep, e.g. ["en", "fr"]; empty for all.')
    min_confidence: float = Field(
        0.8, ge=0, le=1, description="Of a detected language that overrules the stated one."
    )
    agree: bool = Field(
        True, description="Drop rows whose detected language is certain and is not the stated one."
    )

    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        found, stated = (
            rows["language.lang"],
            pc.utf8_lower(pc.replace_substring_regex(rows["lang"], "[-_].*", "")),
        )
        sure = pc.and_(
            pc.greater_equal(rows["language.confidence"], self.min_confidence), pc.not_equal(found, UNKNOWN)
        )
        sure = pc.fill_null(sure, False)
        fits = pc.is_valid(sure)
        if self.languages:
            told = pc.if_else(sure, found, stated)
            fits = pc.is_in(told, pa.array(self.languages, pa.string()))
            fits = pc.or_(fits, pc.is_null(told))
        if self.agree:
            fits = pc.and_(
                fits, pc.invert(pc.and_(sure, pc.fill_null(pc.invert(rows["language.agrees"]), False)))
            )
        return fits
