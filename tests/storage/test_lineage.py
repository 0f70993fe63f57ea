"""From a checkpoint to its rows, and from a row to its checkpoints."""

from __future__ import annotations

import pyarrow as pa
import pytest

from storage import lineage, snapshot
from storage.errors import LineageNotFound


@pytest.fixture
def trained(store, ingest):
    ingest("p", ["a", "b"], licence="MIT", source="one")
    ingest("q", ["c"], licence="CC0-1.0", source="two", split="test")
    snapshot.create(store, "first", text_tokenizer="tt", image_tokenizer="it")
    plan = pa.table(
        {"run_id": ["r"] * 3, "step": [1, 2, 3], "slot": [0, 1, 0], "sample_ids": [["a", "b"], ["a"], ["b"]]}
    )
    store.append("batch_plan", plan, parts=["plan"])
    saved = pa.table(
        {"checkpoint_id": ["early", "late"], "run_id": ["r"] * 2, "step": [1, 3], "snapshot": ["first"] * 2}
    )
    store.append("checkpoints", saved, parts=["saved"])
    return store


def test_a_checkpoint_names_its_rows_sources_and_licences(trained):
    found = lineage.checkpoint(trained, "late").to_pylist()
    assert [
        (row["sample_id"], row["split"], row["source"], row["licence"], row["times_seen"]) for row in found
    ] == [
        ("a", "train", "one", "MIT", 2),
        ("b", "train", "one", "MIT", 2),
        ("c", "test", "two", "CC0-1.0", 0),
    ]


def test_an_earlier_checkpoint_has_seen_less(trained):
    seen = {row["sample_id"]: row["times_seen"] for row in lineage.checkpoint(trained, "early").to_pylist()}
    assert seen == {"a": 1, "b": 1, "c": 0}


def test_a_sample_knows_what_became_of_it(trained):
    assert lineage.sample(trained, "a") == {
        "sample": trained.read("samples", where="sample_id = 'a'").to_pylist()[0],
        "decisions": [{"stage": "collect", "outcome": "kept"}],
        "snapshots": [{"snapshot": "first", "split": "train"}],
        "steps": [{"run_id": "r", "step": 1}, {"run_id": "r", "step": 2}],
        "checkpoints": [{"checkpoint_id": "early", "step": 1}, {"checkpoint_id": "late", "step": 3}],
    }
    unseen = lineage.sample(trained, "c")
    assert unseen["steps"] == unseen["checkpoints"] == []


def test_what_is_not_there_is_named(trained):
    with pytest.raises(LineageNotFound, match="no checkpoint 'x'"):
        lineage.checkpoint(trained, "x")
    with pytest.raises(LineageNotFound, match="no sample 'x'"):
        lineage.sample(trained, "x")


def test_the_same_in_sql(trained):
    with trained.connect() as con:
        rows = con.sql(
            "SELECT licence, count(*) FROM checkpoint_rows('late') GROUP BY 1 ORDER BY 1"
        ).fetchall()
        kinds = con.sql("SELECT what, count(*) FROM sample_history('b') GROUP BY 1 ORDER BY 1").fetchall()
    assert rows == [("CC0-1.0", 1), ("MIT", 2)]
    assert kinds == [("checkpoint", 2), ("decision", 1), ("snapshot", 1), ("training step", 2)]
