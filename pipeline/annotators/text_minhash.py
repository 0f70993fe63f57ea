"""Which texts are nearly the same: a MinHash signature of each row's text and prompt."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.minhash import signatures
from pipeline.shingles import Worded
from pipeline.step import Annotator

AT_ONCE = 1 << 19
"""Bytes of text that are hashed at once, one text at least."""


class TextMinhash(Annotator):
    """A MinHash signature over runs of words, or of characters where a script has no spaces; null without words.

    Prompt and text weigh the same, however long one of them is.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("prompt", "text")
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field(
                "signature",
                pa.binary(),
                metadata={"doc": "Least hash by each permutation: uint32, little endian."},
            ),
            pa.field("run", pa.int32(), metadata={"doc": "Words in a run that was hashed."}),
            pa.field("words", pa.int32(), metadata={"doc": "Words of text and prompt."}),
        ]
    )
    permutations: int = Field(128, ge=8, le=1024, description="Hash functions: each takes 4 bytes a row.")
    run: int = Field(5, ge=1, le=32, description="Words in a run.")
    short: int = Field(20, ge=0, description="A text of fewer words is compared by shorter runs …")
    short_run: int = Field(2, ge=1, le=32, description="… of so many words.")
    seed: int = Field(0, ge=0, lt=1 << 31, description="Another seed draws other hash functions.")

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        texts, prompts = (rows[name].cast(pa.string()).combine_chunks() for name in ("text", "prompt"))
        pairs, places = _distinct(*(pc.fill_null(column, "") for column in (prompts, texts)))
        made = [self._signed(*block) for block in _blocks(*pairs)]
        signed, run, words = (np.concatenate(column) for column in zip(*made, strict=True))
        missing = ~pc.is_valid(texts).to_numpy(zero_copy_only=False) | (words[places] == 0)
        return pa.table(
            [
                rows["sample_id"],
                _binary(signed[places], missing),
                pa.array(run[places], pa.int32(), mask=missing),
                pa.array(words[places], pa.int32(), mask=missing),
            ],
            names=["sample_id", *self.columns.names],
        )

    def _signed(self, prompts: pa.Array, texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Signatures, words in a run, and words of n rows; the signature of one without words is zeros."""
        worded = Worded.read(prompts, texts)
        words = worded.count()
        run = np.where(words < self.short, self.short_run, self.run)
        hashes, starts = worded.shingles(run)
        some = np.flatnonzero(words)
        made = np.zeros((len(words), self.permutations), np.uint32)
        made[some] = signatures(hashes, np.append(starts[some], starts[-1]), self.permutations, self.seed)
        return made, run, words


def _distinct(prompts: pa.Array, texts: pa.Array) -> tuple[tuple[pa.Array, pa.Array], np.ndarray]:
    """Each pair of a prompt and a text once, and which of them each row has: int64 [n]."""
    asked, said = prompts.dictionary_encode(), texts.dictionary_encode()
    many = max(len(said.dictionary), 1)
    codes = asked.indices.to_numpy().astype(np.int64) * many + said.indices.to_numpy()
    once, places = np.unique(codes, return_inverse=True)
    return (
        asked.dictionary.take(pa.array(once // many)),
        said.dictionary.take(pa.array(once % many)),
    ), places


def _blocks(prompts: pa.Array, texts: pa.Array) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Pieces of about AT_ONCE bytes, one of no rows if there are none."""
    size = pc.add(pc.binary_length(prompts), pc.binary_length(texts)).to_numpy().astype(np.int64)
    block = (np.cumsum(size) - size) // AT_ONCE
    cuts = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(size)]
    for low, high in itertools.pairwise(cuts):
        yield prompts.slice(low, high - low), texts.slice(low, high - low)


def _binary(signed: np.ndarray, missing: np.ndarray) -> pa.Array:
    """Signatures as a binary column, null where they are missing."""
    width = signed.shape[1] * 4
    offsets = np.zeros(len(signed) + 1, np.int32)
    np.cumsum(np.where(missing, 0, width), out=offsets[1:])
    data = signed[~missing].astype("<u4").tobytes()
    valid = pa.array(~missing).buffers()[1]
    return pa.Array.from_buffers(pa.binary(), len(signed), [valid, pa.py_buffer(offsets), pa.py_buffer(data)])
