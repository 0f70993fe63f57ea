"""A snapshot reads the same for ever, and equal content has one hash however it is stored."""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import parts, snapshot, upkeep
from storage.errors import LicenceNotAllowed, SnapshotExists, SnapshotIncomplete, SnapshotNotFound
from storage.snapshot import Snapshot
from storage.store import Store

TOKENS = {"text_tokenizer": "tt", "image_tokenizer": "it"}


def test_a_snapshot_holds_the_kept_rows_with_their_tokens(store, ingest, rows):
    ingest("p", ["a", "b"])
    ingest("q", ["c"], split="test")
    parts.stage(store, "bad", rows(["d"], kept=False))
    parts.commit(store, ["bad"])
    made = snapshot.create(store, "first", **TOKENS)
    assert made.rows == 3
    assert made.samples(columns=["sample_id", "split"]).to_pylist() == [
        {"sample_id": "a", "split": "train"},
        {"sample_id": "b", "split": "train"},
        {"sample_id": "c", "split": "test"},
    ]
    assert made.samples("test")["text"].to_pylist() == ["a caption c"]
    assert made.text_tokens("train").to_pylist() == [
        {"sample_id": "a", "prompt_ids": [], "ids": [1, 2]},
        {"sample_id": "b", "prompt_ids": [], "ids": [1, 2]},
    ]
    codes = made.image_tokens()
    assert codes["codes"].to_pylist() == [[3, 4]] * 3
    assert codes["image_id"].to_pylist() == sorted(codes["image_id"].to_pylist())
    pictures = pa.Table.from_batches(list(made.images("train")))
    assert sorted(pictures["image_id"].to_pylist()) == sorted(made.samples("train")["image_id"].to_pylist())
    assert all(len(one) == 640 for one in pictures["image"].to_pylist())


def test_it_opens_by_name_and_as_the_newest(store, ingest):
    ingest("p", ["a"])
    first = snapshot.create(store, "first", **TOKENS)
    ingest("q", ["b"])
    second = snapshot.create(store, **TOKENS)
    assert second.name == second.content_hash[:12]
    again = Store.open(store.path)
    assert Snapshot.open(again, "first") == first
    assert Snapshot.open(again) == Snapshot.open(again, second.name) == second
    with pytest.raises(SnapshotNotFound, match=f"no snapshot 'third'.*first, {second.name}"):
        Snapshot.open(again, "third")


def test_no_snapshot_yet(store):
    with pytest.raises(SnapshotNotFound, match="millrace ingest"):
        Snapshot.open(store)


def test_later_writes_deletes_and_compaction_do_not_change_it(store, ingest):
    ingest("p", ["a", "b"])
    made = snapshot.create(store, "pinned", **TOKENS)
    before = made.samples()
    ingest("q", ["c"])
    ingest("p2", ["a"], text="changed")
    store.delete("text_tokens", ["b"])
    for table in store.tables():
        upkeep.optimize(store, table)
    upkeep.vacuum(store, keep_hours=0)
    kept = Snapshot.open(Store.open(store.path), "pinned")
    assert kept.samples() == before
    assert kept.text_tokens().num_rows == 2
    with kept.connect() as con:
        assert con.sql("SELECT count(*) FROM members").fetchall() == [(2,)]


def test_equal_content_gives_back_the_snapshot_that_there_is(store, ingest):
    ingest("p", ["a"])
    made = snapshot.create(store, "first", **TOKENS)
    before = store.versions()
    assert snapshot.create(store, **TOKENS) == made
    assert snapshot.create(store, "other name", **TOKENS) == made
    upkeep.optimize(store, "samples")
    store.append("decisions", pa.table({"sample_id": ["a"], "stage": ["late"], "kept": [True]}), parts=["d"])
    assert snapshot.create(store, **TOKENS) == made
    after = store.versions()
    assert (after["snapshots"], after["members"]) == (before["snapshots"], before["members"])


def test_a_name_is_not_given_twice(store, ingest):
    ingest("p", ["a"])
    snapshot.create(store, "mine", **TOKENS)
    ingest("q", ["b"])
    with pytest.raises(SnapshotExists, match="'mine' exists with other content"):
        snapshot.create(store, "mine", **TOKENS)


def test_a_data_snapshot_needs_no_tokens_and_another_hash(store, ingest):
    ingest("p", ["a"])
    data = snapshot.create(store, "data")
    full = snapshot.create(store, "full", **TOKENS)
    assert data.text_tokenizer is None
    assert data.text_tokens().num_rows == 0
    assert data.content_hash != full.content_hash


@pytest.mark.parametrize(
    ("table", "lacking"),
    [
        ("splits", "a split"),
        ("text_tokens", "text tokens of tt"),
        ("image_tokens", "image codes of it"),
        ("images", "their picture"),
    ],
)
def test_a_kept_row_that_lacks_something_is_an_error(store, ingest, table, lacking):
    ingest("p", ["a", "b"])
    ids = store.read(table)[store.table(table).key[0]].to_pylist()
    store.delete(table, ids[:1])
    with pytest.raises(SnapshotIncomplete, match=f"1 of 2 kept rows lack {lacking}"):
        snapshot.create(store, **TOKENS)
    assert store.version("snapshots") == store.version("members") == -1


def test_rows_without_text_or_picture_need_no_tokens_for_it(store):
    samples = pa.table({"sample_id": ["t", "i"], "text": ["only text", None]})
    store.append("samples", samples, parts=["p"])
    kept = pa.table({"sample_id": ["t", "i"], "stage": ["collect"] * 2, "kept": [True] * 2})
    store.append("decisions", kept, parts=["p"])
    store.append("splits", pa.table({"sample_id": ["t", "i"], "split": ["train"] * 2}), parts=["p"])
    with pytest.raises(SnapshotIncomplete, match="1 of 2 kept rows lack text tokens"):
        snapshot.create(store, **TOKENS)
    store.append("text_tokens", pa.table({"sample_id": ["t"], "tokenizer_id": ["tt"]}), parts=["p"])
    assert snapshot.create(store, **TOKENS).rows == 2


def test_nothing_kept_is_an_error(store, rows):
    with pytest.raises(SnapshotIncomplete, match="millrace stats"):
        snapshot.create(store)
    parts.stage(store, "p", rows(["a"], kept=False))
    parts.commit(store, ["p"])
    with pytest.raises(SnapshotIncomplete, match="millrace stats"):
        snapshot.create(store)


def test_a_row_that_a_required_stage_has_not_seen_is_not_kept(store, ingest):
    ingest("p", ["a", "b"])
    store.append(
        "decisions", pa.table({"sample_id": ["a"], "stage": ["filter"], "kept": [True]}), parts=["f"]
    )
    assert snapshot.create(store, stages=["collect", "filter"], **TOKENS).rows == 1
    assert snapshot.create(store, stages=["collect"], **TOKENS).rows == 2


def test_only_the_sources_that_were_asked_for(store, ingest):
    ingest("p", ["a"], source="one")
    ingest("q", ["b"], source="two")
    assert snapshot.create(store, sources=["two"], **TOKENS).samples()["sample_id"].to_pylist() == ["b"]


def test_the_licence_gate_names_licences_and_counts(store, ingest):
    ingest("p", ["a", "b"], licence="CC0-1.0")
    ingest("q", ["c", "d", "e"], licence="CC-BY-NC-4.0")
    ingest("r", ["f"], licence=None)
    with pytest.raises(LicenceNotAllowed) as error:
        snapshot.create(store, licences=["CC0-1.0", ""], **TOKENS)
    assert "CC-BY-NC-4.0 (3 rows), no licence (1 rows)" in str(error.value)
    assert "CC0" not in str(error.value)
    assert store.version("snapshots") == -1
    made = snapshot.create(store, licences=None, **TOKENS)
    assert made.licences == {"CC0-1.0": 2, "CC-BY-NC-4.0": 3, "": 1}


def test_a_kill_between_members_and_snapshot_is_made_good(store, ingest, monkeypatch):
    ingest("p", ["a"])
    real = Store.append

    def append(self, table, *arguments, **named):
        if table == "snapshots":
            raise KeyboardInterrupt
        return real(self, table, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "append", append)
        with pytest.raises(KeyboardInterrupt):
            snapshot.create(store, "mine", **TOKENS)
    with pytest.raises(SnapshotNotFound):
        Snapshot.open(store, "mine")
    ingest("q", ["b"])  # the name's leftover members must not mix with these
    made = snapshot.create(Store.open(store.path), "mine", **TOKENS)
    assert made.samples()["sample_id"].to_pylist() == ["a", "b"]
    with store.connect() as con:
        assert con.sql("SELECT count(*) FROM snapshot_members").fetchall() == [(2,)]


# The hash


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)), cuts=st.sets(st.integers(1, 5)), compact=st.booleans())
def test_the_hash_does_not_see_parts_files_order_or_times(ingest, order, cuts, compact):
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "store")
        bounds = [0, *sorted(cuts), 6]
        for start, end in pairwise(bounds):
            chosen = [f"row{n}" for n in order[start:end]]
            ingest(
                f"part{start}",
                chosen,
                into=store,
                pictures=["cat" if one < "row3" else one for one in chosen],
            )
        if compact:
            for table in store.tables():
                upkeep.optimize(store, table)
        made = snapshot.create(store, **TOKENS)
        assert made.rows == 6
        assert made.content_hash == EXPECTED.setdefault("hash", made.content_hash)
        for table in ("samples", "images", "decisions", "text_tokens", "image_tokens"):
            found = snapshot.content_hash(store, table)
            assert found == EXPECTED.setdefault(table, found)


EXPECTED: dict[str, str] = {}
"""Filled by the first example; all others must agree."""


@pytest.mark.parametrize(
    "change", ["text", "split", "picture", "licence", "tokens", "codes", "fewer", "null"]
)
def test_the_hash_sees_every_change_of_content(tmp_path, ingest, change):
    def build(name: str, changed: bool) -> str:
        store = Store.open(tmp_path / name)
        more: dict = {}
        if changed:
            more = {
                "text": {"text": "another caption"},
                "split": {"split": "test"},
                "picture": {"pictures": ["a", "x"]},
                "licence": {"licence": "MIT"},
                "null": {"licence": None},
            }.get(change, {})
        ingest("p", ["a"] if changed and change == "fewer" else ["a", "b"], into=store, **more)
        if changed and change == "tokens":
            store.clear("text_tokens", {})
            ids = pa.array([[1, 2], [2, 1]], pa.list_(pa.int32()))
            other = pa.table({"sample_id": ["a", "b"], "tokenizer_id": ["tt"] * 2, "ids": ids})
            store.append("text_tokens", other, parts=["t2"])
        if changed and change == "codes":
            images = store.read("image_tokens")["image_id"]
            store.clear("image_tokens", {})
            other = pa.table({"image_id": images, "tokenizer_id": ["it"] * 2, "codes": [[3, 4], [34]]})
            store.append("image_tokens", other, parts=["i2"])
        return snapshot.create(store, **TOKENS).content_hash

    assert build("one", False) == build("two", False) != build("three", True)


def test_the_row_of_a_snapshot_can_be_read_by_anyone(store, ingest):
    ingest("p", ["a"])
    made = snapshot.create(store, "first", **TOKENS)
    with store.connect() as con:
        [(name, rows, versions)] = con.sql("SELECT snapshot, rows, versions FROM snapshots").fetchall()
    assert (name, rows) == ("first", 1)
    assert json.loads(versions) == made.versions
    assert made.versions["samples"] == 1
    assert "metrics" not in made.versions
