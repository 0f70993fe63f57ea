"""The demo corpus straight from memory: for benchmarks, and for a first run without any files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from pipeline.gallery import corpus
from pipeline.gallery.pictures import encoded
from pipeline.gallery.texts import AUTHOR, LICENCE, rows
from pipeline.step import RAW, Shard, Source, digest

PER_SHARD = 1000
PER_BATCH = 100


class Gallery(Source):
    """Rendered scenes with captions, questions and planted defects: a function of (seed, size, heldout)."""

    version: ClassVar[int] = corpus.VERSION

    seed: int = 0
    size: int = Field(
        20_000, ge=1, le=corpus.MOST, description="training pictures, planted defects among them"
    )
    heldout: int | None = Field(
        None, ge=0, le=corpus.MOST, description="held-out pictures; unset: size / 20, at least 100"
    )
    noise: Literal["demo", "web"] = Field(
        "demo", description="how much of it is bad: one picture in six, or two in three"
    )
    tasks: Literal["few", "all"] = Field(
        "few",
        description="captions, questions and a few stories; or also translations both ways, titles, summaries, qa",
    )
    part: Literal["train", "heldout"] = Field("train", description="which of the two this source yields")

    def pictures(self) -> tuple[corpus.Picture, ...]:
        planned = corpus.plan(self.seed, self.size, self.heldout, self.noise)
        return planned.pictures if self.part == "train" else planned.heldout

    def shards(self, known: pa.Table) -> Iterable[Shard]:
        held = corpus.default_heldout(self.size) if self.heldout is None else self.heldout
        total = self.size if self.part == "train" else held
        for start in range(0, total, PER_SHARD):
            stop = min(start + PER_SHARD, total)
            named: list[int | str] = [
                corpus.VERSION,
                self.seed,
                self.size,
                held,
                self.noise,
                self.part,
                start,
                stop,
            ]
            if self.tasks != "few":  # beside "few", older stores' keys
                named.append(self.tasks)
            yield Shard(digest(named), {"start": start, "stop": stop})

    def read(self, shard: Shard) -> Iterator[pa.Table]:
        pictures = self.pictures()[shard.payload["start"] : shard.payload["stop"]]
        for start in range(0, len(pictures), PER_BATCH):
            yield table(pictures[start : start + PER_BATCH], self.seed, self.tasks)


def table(pictures: Iterable[corpus.Picture], seed: int, tasks: str = "few") -> pa.Table:
    """The rows of some pictures in the columns of RAW; rows of one picture follow each other."""
    found = []
    for picture in pictures:
        image = encoded(picture, seed)
        for position, row in enumerate(rows(picture, seed, tasks)):
            found.append(
                {
                    "origin": picture.file,
                    "document": picture.name,
                    "position": position,
                    "version": str(corpus.VERSION),
                    "image": image,
                    "prompt": row.prompt,
                    "text": row.text.encode(),
                    "lang": row.lang,
                    "task": row.task,
                    "label": row.label,
                    "licence": LICENCE,
                    "author": AUTHOR,
                }
            )
    return pa.Table.from_pylist(found, schema=RAW)
