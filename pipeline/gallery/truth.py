"""What was planted where, beside the corpus and never inside it; and how much of it a pipeline found."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.gallery.corpus import COPIES, EXPECT, Corpus
from pipeline.gallery.scene import caption
from pipeline.gallery.texts import rows

FILE = "truth.parquet"

SCHEMA = pa.schema(
    [
        ("picture", pa.string()),  # "g000123": part of the origin of each of its rows, whatever the source
        ("position", pa.int32()),  # of the row within the picture
        ("source", pa.string()),  # folder, tars, urls or heldout
        ("file", pa.string()),  # path within the source, or the URL
        ("kind", pa.string()),
        ("of", pa.string()),  # the picture that this one copies or varies
        ("expect", pa.string()),  # keep, drop, redact or suspect
        ("unseen", pa.bool_()),  # shows a combination that training pictures never show
        ("lang", pa.string()),
        ("task", pa.string()),
        ("shows", pa.string()),  # the right English caption, also where the corpus has a wrong one
        ("secret", pa.string()),  # the address or number planted in the text
    ]
)


def truth(corpus: Corpus, tasks: str = "few") -> pa.Table:
    """One row per row of the corpus, the clean ones too."""
    found = []
    for picture in corpus.everything:
        same = {
            "picture": picture.name,
            "source": picture.source,
            "file": picture.file,
            "kind": picture.kind,
            "of": picture.of or None,
            "expect": EXPECT[picture.kind],
            "unseen": picture.scene.unseen,
            "shows": caption(picture.scene),
        }
        for position, row in enumerate(rows(picture, corpus.seed, tasks)):
            found.append(
                {**same, "position": position, "lang": row.lang, "task": row.task, "secret": row.secret}
            )
    return pa.Table.from_pylist(found, schema=SCHEMA)


def read(path: str | Path) -> pa.Table:
    """The truth of a written corpus."""
    return pq.read_table(Path(path) / FILE)


def picture_of(origins: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The picture's name in each origin (path, tar key or URL); null where there is none."""
    return pc.struct_field(pc.extract_regex(origins, r"(?P<name>[gh][0-9]{6})(?:[^0-9]|$)"), "name")


@dataclass(frozen=True)
class Score:
    """How well something planted was found; NaN where nothing was planted or found."""

    planted: int
    found: int
    right: int

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        return self.right / self.planted if self.planted else float("nan")


def score(truth: pa.Table, kinds: Iterable[str], dropped: Collection[str]) -> Score:
    """Of the pictures of these kinds, how many are among `dropped` (names of pictures)?"""
    wanted = set(truth.filter(pc.is_in(truth["kind"], pa.array(list(kinds))))["picture"].to_pylist())
    return Score(len(wanted), len(set(dropped)), len(wanted & set(dropped)))


def score_copies(truth: pa.Table, dropped: Collection[str], kinds: Iterable[str] = COPIES) -> Score:
    """Of each planted pair of a copy and its original exactly one must go: which one is not ours to say.

    `dropped` names the pictures whose English caption was dropped as a duplicate.
    """
    chosen = truth.filter(pc.is_in(truth["kind"], pa.array(list(kinds))))
    pairs = set(zip(chosen["picture"].to_pylist(), chosen["of"].to_pylist(), strict=True))
    gone = set(dropped)
    right = sum(len(gone & set(pair)) == 1 for pair in pairs)
    return Score(len(pairs), len(gone), right)
