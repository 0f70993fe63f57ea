"""How long a text is, by several measures, for filters and for SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.step import Annotator

UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
"""Scripts that write no spaces between words: each character counts as a word."""


class TextStats(Annotator):
    """Characters, words, digits and capitals of a row's text, and what it lost; null where there is none."""

    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("text", "text_bytes")
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("characters", pa.int32(), metadata={"doc": "Code points."}),
            pa.field("words", pa.int32(), metadata={"doc": "Words; in scripts without spaces, characters."}),
            pa.field("digits", pa.int32(), metadata={"doc": "Decimal digits."}),
            pa.field("capitals", pa.int32(), metadata={"doc": "Upper-case letters."}),
            pa.field(
                "lost",
                pa.int32(),
                metadata={
                    "doc": "Bytes that denoising took away: text_bytes less those stored.",
                    "unit": "bytes",
                },
            ),
        ]
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        text = rows["text"].cast(pa.string())
        counts = [
            pc.utf8_length(text),
            words(text),
            pc.count_substring_regex(text, r"\p{Nd}"),
            pc.count_substring_regex(text, r"\p{Lu}"),
            pc.subtract(rows["text_bytes"], pc.binary_length(text)),
        ]
        return pa.table(
            [rows["sample_id"], *(c.cast(pa.int32()) for c in counts)],
            names=["sample_id", *self.columns.names],
        )


def words(text: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Words of each text, one for each character of scripts without spaces: int32 [n]."""
    spaced = pc.replace_substring_regex(text, UNSPACED, " x ")
    return pc.count_substring_regex(spaced, r"[\p{L}\p{M}\p{N}]+").cast(pa.int32())
