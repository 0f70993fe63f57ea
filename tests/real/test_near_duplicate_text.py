"""Sections of textbooks at two commits, and captions: which of them are nearly the same, against the truth."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.annotators.text_minhash import TextMinhash
from pipeline.gathers.text_duplicates import TextDuplicates
from pipeline.matching import components
from pipeline.shingles import Worded
from storage.tables import TABLES


def grouped(texts: list[str], threshold: float, annotator: TextMinhash | None = None) -> np.ndarray:
    """The first row of the group of each text."""
    annotator, db = annotator or TextMinhash(), duckdb.connect()
    for table in TABLES.values():
        db.register("schema_of", table.schema.empty_table())
        db.execute(f"CREATE TABLE {table.name} AS SELECT * FROM schema_of")
    rows = pa.table(
        {
            "sample_id": [f"{at:06d}" for at in range(len(texts))],
            "prompt": pa.nulls(len(texts), pa.string()),
            "text": texts,
        }
    )
    db.register("rows", rows)
    db.register("signed", annotator.annotate(rows, {}))
    db.execute("INSERT INTO samples BY NAME SELECT *, 'text' AS task FROM rows")
    db.execute("CREATE TABLE text_minhash AS SELECT * FROM signed")
    db.execute("CREATE TEMP TABLE candidates AS SELECT sample_id FROM samples")
    db.execute("CREATE TEMP TABLE incumbents AS SELECT sample_id FROM samples WHERE false")
    TextDuplicates(threshold=threshold).gather(db)
    query = "SELECT coalesce(together, head) FROM entries LEFT JOIN grouped ON grouped.n = head ORDER BY sample_id"
    return np.array(db.sql(query).fetchall())[:, 0]


@pytest.fixture(scope="module")
def sections(real_data: Callable[[str], Path]) -> pa.Table:
    return pq.read_table(real_data("near-duplicate-text") / "module_versions.parquet")


@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.8, 0.9])
def test_versions_of_a_section_are_found_and_other_sections_are_not(sections: pa.Table, threshold: float):
    """The stored texts are cut at 9,000 characters and the stated index is that of whole ones: so both are asked."""
    pairs = len(sections)
    texts = sections["text_a"].to_pylist() + sections["text_b"].to_pylist()
    label = grouped(texts, threshold)
    found, whole = label[:pairs] == label[pairs:], sections["jaccard5_full"].to_numpy() >= threshold
    cut = np.isin(np.arange(pairs), [i for i, j in near(texts, threshold) if j == i + pairs])
    recall = {"whole": (found & whole).sum() / whole.sum(), "cut": (found & cut).sum() / cut.sum()}
    print(f"{threshold}: recall {recall}, {found.sum()} found, {whole.sum()} and {cut.sum()} there")
    assert recall["whole"] >= 0.95
    assert recall["cut"] >= 0.95
    module = np.array(sections["module"].to_pylist() * 2)
    i, j = np.triu_indices(2 * pairs, 1)
    together = label[i] == label[j]
    assert (module[i] == module[j])[together].all(), "precision 1: no two modules are put together"
    assert not (found & ~cut).any(), "nor a pair below the threshold"


def test_captions_of_textbooks_are_grouped_as_brute_force_groups_them(real_data: Callable[[str], Path]):
    captions = pq.read_table(real_data("textbook-figures") / "captions.parquet", columns=["alt", "caption"])
    real = sorted({text for name in ("alt", "caption") for text in captions[name].to_pylist() if text})
    texts = [*real, *(edited(text, random.Random(at)) for at, text in enumerate(real) if at % 2)]
    truth, label = near(texts, 0.8), grouped(texts, 0.8)
    together = label[truth[:, 0]] == label[truth[:, 1]]
    print(f"{len(texts)} captions, {len(truth)} pairs, {together.sum()} found")
    assert len(truth) > 1000
    assert together.mean() >= 0.95
    connected = components(len(texts), *truth.T)
    assert (connected == connected[label]).all(), "nothing else is put together"


def edited(text: str, rng: random.Random) -> str:
    """The text with a word changed, left out or added, once or twice."""
    words = text.split()
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(words))
        words[at : at + rng.randrange(2)] = [rng.choice(words)] * rng.randrange(2)
    return " ".join(words) or text


def near(texts: list[str], threshold: float) -> np.ndarray:
    """Every pair [m, 2] of texts with that Jaccard index or more, by joining all their runs of words."""
    worded = Worded.read(pa.array([""] * len(texts)), pa.array(texts))
    run = np.where(worded.count() < 20, 2, 5)
    hashes, starts = worded.shingles(run)
    row = np.repeat(np.arange(len(texts)), np.diff(starts))
    db = duckdb.connect()
    db.register("listed", pa.table({"n": row, "run": run[row], "hash": hashes}))
    db.execute("CREATE TABLE runs AS SELECT DISTINCT * FROM listed")
    found = db.execute(
        "WITH sizes AS (SELECT n, count(*) AS size FROM runs GROUP BY n), common AS ("
        "SELECT a.n, b.n AS other, count(*) AS shared FROM runs a JOIN runs b USING (hash, run) "
        "WHERE a.n < b.n GROUP BY ALL) SELECT c.n, other FROM common c "
        "JOIN sizes x ON x.n = c.n JOIN sizes y ON y.n = other WHERE shared >= ? * (x.size + y.size - shared)",
        [threshold],
    )
    return np.array(found.fetchall())
