"""Captions with planted near-duplicates, drawn from a seed, and the truth about them by an exact join.

Words are made of syllables and drawn by Zipf's law; three captions of ten are an earlier one, edited. There is nothing
but words between single spaces, so that every tool splits them alike.
"""

from __future__ import annotations

import random
from itertools import accumulate
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.matching import components

VERSION = 1
"""Raised when other captions are drawn: files on disk are then made anew."""
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el", "or")]
VOCABULARY = 30_000
LENGTHS = range(8, 31)
COPIES = 0.3
"""Share of captions that are an earlier one, with up to MOST_EDITS words changed, left out, added or capitalised."""
MOST_EDITS = 4
ROW_GROUP = 50_000


def write(path: Path, size: int, seed: int = 0) -> Path:
    """A Parquet file of `id` and `text`, made only once."""
    if not path.exists():
        texts = drawn(size, seed)
        scratch = path.with_suffix(".partial")
        pq.write_table(
            pa.table({"id": [f"{at:08d}" for at in range(size)], "text": texts}), scratch, ROW_GROUP
        )
        scratch.replace(path)
    return path


def drawn(size: int, seed: int) -> list[str]:
    """So many captions."""
    rng = random.Random(f"captions {VERSION} {seed}")
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(VOCABULARY)]
    weights = list(accumulate(1 / (rank + 10) for rank in range(VOCABULARY)))
    found: list[str] = []
    for _ in range(size):
        if found and rng.random() < COPIES:
            found.append(edited(rng.choice(found), rng, words))
        else:
            found.append(" ".join(rng.choices(words, cum_weights=weights, k=rng.choice(LENGTHS))))
    return found


def edited(text: str, rng: random.Random, words: list[str]) -> str:
    """The text after a few edits; perhaps none."""
    found = text.split()
    for _ in range(rng.randint(0, MOST_EDITS)):
        at = rng.randrange(len(found))
        match rng.randrange(4):
            case 0:
                found[at] = rng.choice(words)
            case 1:
                found.insert(at, rng.choice(words))
            case 2 if len(found) > 2:
                del found[at]
            case _:
                found[at] = found[at].capitalize()
    return " ".join(found)


def groups(path: Path, run: int, threshold: float) -> np.ndarray:
    """The first of the captions that each hangs together with, by pairs with at least that Jaccard index: int64 [n].

    Every such pair is found: two sets that are so alike share one of their rarest elements (prefix filtering,
    Chaudhuri et al. 2006), and what shares one is compared in full.
    """
    db = duckdb.connect()
    db.execute(
        f"CREATE TABLE runs AS SELECT DISTINCT n, hash(words[first : first + {run - 1}]) AS run FROM ("
        f"SELECT n, words, unnest(range(1, greatest(len(words) - {run - 2}, 2))) AS first FROM ("
        "SELECT file_row_number AS n, string_split(lower(text), ' ') AS words "
        "FROM read_parquet(?, file_row_number = true)))",
        [str(path)],
    )
    db.execute("CREATE TABLE sizes AS SELECT n, count(*) AS size FROM runs GROUP BY n")
    db.execute(
        "CREATE TABLE rare AS SELECT n, run FROM (SELECT n, run, size, row_number() OVER ("
        "PARTITION BY n ORDER BY often, run) AS place FROM runs JOIN sizes USING (n) "
        "JOIN (SELECT run, count(*) AS often FROM runs GROUP BY run) USING (run)) "
        "WHERE place <= size - ceil(? * size) + 1",
        [threshold],
    )
    db.execute(
        "CREATE TABLE near AS WITH pairs AS ("
        "SELECT DISTINCT a.n AS i, b.n AS j FROM rare a JOIN rare b USING (run) WHERE a.n < b.n), "
        "common AS (SELECT i, j, count(*) AS shared FROM pairs JOIN runs a ON a.n = i "
        "JOIN runs b ON b.n = j AND a.run = b.run GROUP BY i, j) SELECT i, j FROM common "
        "JOIN sizes x ON x.n = i JOIN sizes y ON y.n = j WHERE shared >= ? * (x.size + y.size - shared) - 1e-9",
        [threshold],
    )
    pairs = db.sql("SELECT i, j FROM near").to_arrow_table()
    return components(pq.read_metadata(path).num_rows, *(column.to_numpy() for column in pairs.columns))


def quality(group: np.ndarray, kept: np.ndarray) -> tuple[float, float]:
    """(recall, precision) of a choice of captions to keep, bool [n]: which share of the captions that are too many
    is gone, and of which share of those that are gone there is one left that hangs together with it."""
    size, left = np.bincount(group, minlength=len(group)), np.bincount(group, kept, len(group))
    there = size > 0
    size, left = size[there], left[there]
    rightly = size - np.maximum(left, 1)
    gone = size - left
    return float(rightly.sum() / max((size - 1).sum(), 1)), float(rightly.sum() / max(gone.sum(), 1))


def f1(recall: float, precision: float) -> float:
    """Their harmonic mean."""
    return 2 * recall * precision / max(recall + precision, 1e-9)
