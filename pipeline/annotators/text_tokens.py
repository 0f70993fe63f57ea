"""Token ids of each row's prompt and text under the frozen text tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa

from pipeline.step import Annotator


class TextTokens(Annotator):
    """Encodes prompt and text with the text tokenizer that the flow hands in, without special tokens."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("prompt", "text")
    needs: ClassVar[tuple[str, ...]] = ("text_tokenizer",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("tokenizer_id", pa.string(), metadata={"doc": "Which tokenizer."}),
            pa.field(
                "prompt_ids", pa.list_(pa.int32()), metadata={"doc": "Ids of the prompt; empty for none."}
            ),
            pa.field("ids", pa.list_(pa.int32()), metadata={"doc": "Ids of the text; empty for none."}),
        ]
    )

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        tokenizer = models["text_tokenizer"]
        return pa.table(
            [
                rows["sample_id"],
                pa.repeat(tokenizer.id, rows.num_rows),
                tokenizer.encode_batch(rows["prompt"]),
                tokenizer.encode_batch(rows["text"]),
            ],
            names=["sample_id", *self.columns.names],
        )
