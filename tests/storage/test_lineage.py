"""From a checkpoint to its rows, and from a row to its checkpoints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from storage import lineage, snapshot
from storage.errors import LineageNotFound
from storage.snapshot import Snapshot
from storage.store import Store


@pytest.fixture
def trained(store, ingest):
    ingest("p", ["a", "b"], licence="MIT", source="one")
    ingest("q", ["c"], licence="CC0-1.0", source="two", split="test")
    snapshot.create(store, "first", text_tokenizer="tt", image_tokenizer="it")
    plan = pa.table(
        {"run_id": ["r"] * 3, "step": [0, 1, 2], "slot": [0, 1, 0], "sample_ids": [["a", "b"], ["a"], ["b"]]}
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
        "forgotten": False,
        "decisions": [{"stage": "collect", "outcome": "kept", "detail": None}],
        "snapshots": [
            {
                "snapshot": "first",
                "split": "train",
                "content_hash": Snapshot.open(trained, "first").content_hash,
            }
        ],
        "steps": [{"run_id": "r", "step": 0, "slot": 0}, {"run_id": "r", "step": 1, "slot": 1}],
        "checkpoints": [
            {"checkpoint_id": "early", "run_id": "r", "step": 1, "times_seen": 1},
            {"checkpoint_id": "late", "run_id": "r", "step": 3, "times_seen": 2},
        ],
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


def test_a_checkpoint_is_known_with_its_run_its_snapshot_and_what_came_of_it(trained):
    began = datetime(2026, 11, 1, tzinfo=UTC)
    run = {
        "run_id": "r",
        "kind": "train",
        "snapshot": "first",
        "config": '{"steps": 3}',
        "code_version": "0.1.0",
    }
    states = [{**run, "state": "finished", "recorded_at": began + timedelta(hours=1)}]
    states.append({**run, "state": "started", "recorded_at": began})
    export = {"run_id": "e", "kind": "export", "state": "finished", "recorded_at": began}
    states.append({**export, "config": '{"checkpoint": "late", "folder": "out"}'})
    trained.append("runs", pa.Table.from_pylist(states), parts=["runs"])
    scores = pa.table({"evaluation_id": ["e1"] * 2, "checkpoint_id": ["late"] * 2, "metric": ["a", "b"]})
    trained.append("evaluations", scores, parts=["e1"])
    found = lineage.about(trained, "late")
    assert (found["run_id"], found["state"], found["started_at"]) == ("r", "finished", began)
    assert (found["config"], found["code_version"]) == ('{"steps": 3}', "0.1.0")
    assert (found["evaluations"], found["exports"]) == (["e1"], ["out"])
    made = Snapshot.open(trained, "first")
    assert (found["snapshot"], found["content_hash"], found["rows"]) == ("first", made.content_hash, 3)
    assert lineage.about(trained, "early")["exports"] == lineage.about(trained, "early")["evaluations"] == []


def test_rows_are_counted_by_source_licence_and_split(trained):
    def counted(checkpoint):
        return [tuple(row.values()) for row in lineage.counts(trained, checkpoint)]

    assert counted("late") == [("one", "MIT", "train", 2, 2, 4), ("two", "CC0-1.0", "test", 1, 0, 0)]
    assert counted("early")[0] == ("one", "MIT", "train", 2, 2, 2)


def test_a_row_counts_as_it_was_in_training(trained, ingest):
    """What the store says of it now is another matter."""
    ingest("later", ["a"], licence="CC-BY-4.0", source="one", text="other words")
    trained.delete("samples", ["b"])
    rows = {row["sample_id"]: row["licence"] for row in lineage.checkpoint(trained, "late").to_pylist()}
    assert rows == {"a": "MIT", "b": "MIT", "c": "CC0-1.0"}
    assert lineage.counts(trained, "late")[0]["licence"] == "MIT"
    assert lineage.sample(trained, "a")["sample"]["licence"] == "CC-BY-4.0"
    gone = lineage.sample(trained, "b")
    assert gone["sample"] is None and [one["checkpoint_id"] for one in gone["checkpoints"]] == [
        "early",
        "late",
    ]


def test_a_checkpoint_is_found_by_its_id_its_beginning_its_run_or_as_the_newest(trained):
    names = {name: lineage.find(trained, name)["checkpoint_id"] for name in ("early", "ear", "r", "latest")}
    assert names == {"early": "early", "ear": "early", "r": "late", "latest": "late"}


def test_a_mistyped_checkpoint_is_told_what_is_near(trained, tmp_path):
    with pytest.raises(LineageNotFound, match=r"no checkpoint 'lato'.*did you mean late"):
        lineage.find(trained, "lato")
    with pytest.raises(LineageNotFound, match="the newest is late"):
        lineage.find(trained, "zzzz")
    with pytest.raises(LineageNotFound, match="no checkpoint ''"):
        lineage.find(trained, "")
    with pytest.raises(LineageNotFound, match="millrace train"):
        lineage.find(Store.open(tmp_path / "empty"), "latest")


def test_a_mistyped_sample_is_told_what_is_near(store, ingest):
    ingest("p", ["0123456789abcdef", "0123456789abcdee", "fedcba9876543210"])
    assert lineage.sample(store, "fedcba")["sample"]["sample_id"] == "fedcba9876543210"
    with pytest.raises(LineageNotFound, match=r"did you mean 0123456789abcdee or 0123456789abcdef\?"):
        lineage.sample(store, "0123456789abcde")
    with pytest.raises(LineageNotFound, match=r"did you mean fedcba9876543210\?"):
        lineage.sample(store, "fedcba9876543211")
    [image] = store.read("samples", ["image_id"], where="sample_id = 'fedcba9876543210'")[
        "image_id"
    ].to_pylist()
    with pytest.raises(
        LineageNotFound, match="of that origin, URL, picture or document there are fedcba9876543210"
    ):
        lineage.sample(store, image)
    with pytest.raises(LineageNotFound, match=r"millrace sql .*lists them"):
        lineage.sample(store, "zzzzzzzzzzzz")
