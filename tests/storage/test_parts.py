"""Staged whole, committed exactly once, wherever the work was interrupted."""

from __future__ import annotations

import os
import time
from collections import Counter

import pyarrow as pa
import pytest

from storage import parts
from storage.errors import StoreError
from storage.store import Store


class Stopped(Exception):
    """Stands for a kill at a chosen point."""


def content(store: Store) -> dict[str, Counter]:
    """Every row of every table but for the part that wrote it."""
    return {
        name: Counter(
            tuple(sorted((key, str(value)) for key, value in row.items() if key != "part"))
            for row in store.read(name).to_pylist()
        )
        for name in store.tables()
    }


def texts(store: Store) -> dict[str, str]:
    return {row["sample_id"]: row["text"] for row in store.read("samples").to_pylist()}


def test_a_staged_part_is_complete_or_not_there(store, rows):
    assert not parts.staged(store, "p")
    tables = rows(["a"])
    tables["samples"] = tables["samples"].append_column("typo", pa.array(["x"]))
    with pytest.raises(StoreError, match="typo"):
        parts.stage(store, "p", tables)
    assert not parts.staged(store, "p")
    assert list(store.folder("staging").iterdir()) == []
    parts.stage(store, "p", rows(["a"]))
    assert parts.staged(store, "p")
    assert parts.waiting(store) == ["p"]


def test_a_commit_moves_every_table_and_clears_the_staging(store, rows):
    parts.stage(store, "p", rows(["a", "b"]))
    assert parts.commit(store, ["p"]) == 6
    assert sorted(texts(store)) == ["a", "b"]
    assert set(store.read("samples")["part"].to_pylist()) == {"p"}
    assert store.read("decisions").num_rows == 2
    assert parts.waiting(store) == []
    assert list(store.folder("staging").iterdir()) == []


def test_several_parts_make_one_commit_for_each_table(store, rows):
    for key in "pqr":
        parts.stage(store, key, rows([f"{key}1", f"{key}2"]))
    parts.commit(store, ["p", "q", "r"])
    assert store.versions() == {"samples": 1, "images": 1, "decisions": 1}
    assert store.missing("samples", ["p", "q", "r"]) == []


def test_a_commit_may_be_repeated(store, rows):
    parts.stage(store, "p", rows(["a"]))
    parts.commit(store, ["p"])
    before = store.versions()
    assert parts.commit(store, ["p"]) == 0
    parts.stage(store, "p", rows(["a"]))  # a worker that did not know
    assert parts.commit(store, ["p"]) == 0
    assert store.versions() == before
    assert parts.waiting(store) == []


def test_an_unknown_part_is_an_error(store):
    with pytest.raises(StoreError, match="never staged"):
        parts.commit(store, ["nothing"])
    for key in ("", "../etc", ".hidden"):
        with pytest.raises(StoreError, match="cannot be the key"):
            parts.staged(store, key)


def test_a_picture_is_stored_once(store, rows):
    parts.stage(store, "p", rows(["a", "b", "c"], pictures=["cat", "cat", "dog"]))
    parts.stage(store, "q", rows(["d"], pictures=["cat"]))
    parts.commit(store, ["p", "q"])
    parts.stage(store, "r", rows(["e", "f"], pictures=["dog", "fox"]))
    parts.commit(store, ["r"])
    ids = store.read("images", ["image_id"])["image_id"].to_pylist()
    assert len(ids) == len(set(ids)) == 3
    assert set(store.read("samples")["image_id"].to_pylist()) == set(ids)
    assert all(store.has("images", key) for key in "pqr")


def test_a_part_whose_pictures_are_all_known_is_done_for_pictures(store, rows):
    parts.stage(store, "p", rows(["a"], pictures=["cat"]))
    parts.commit(store, ["p"])
    parts.stage(store, "q", rows(["b"], pictures=["cat"]))
    parts.commit(store, ["q"])
    assert store.has("images", "q")
    assert store.read("images").num_rows == 1


def test_a_changed_sample_replaces_the_old_one_everywhere(store, rows):
    parts.stage(store, "p", rows(["a", "b"]))
    parts.commit(store, ["p"])
    store.append("text_tokens", pa.table({"sample_id": ["a", "b"], "tokenizer_id": ["t", "t"]}), parts=["t"])
    filtered = pa.table({"sample_id": ["a", "b"], "stage": ["filter"] * 2, "kept": [True] * 2})
    store.append("decisions", filtered, parts=["f"])
    parts.stage(store, "p2", rows(["a", "c"], text="changed", pictures=["other", "c"]))
    parts.commit(store, ["p2"])
    assert texts(store) == {"a": "changed a", "b": "a caption b", "c": "changed c"}
    assert store.read("text_tokens")["sample_id"].to_pylist() == ["b"]
    stages = sorted((row["sample_id"], row["stage"]) for row in store.read("decisions").to_pylist())
    assert stages == [("a", "collect"), ("b", "collect"), ("b", "filter"), ("c", "collect")]


def test_a_new_decision_replaces_that_stage_only(store, rows):
    parts.stage(store, "p", rows(["a", "b"]))
    parts.commit(store, ["p"])
    for key, kept in (("f1", False), ("f2", True)):
        table = pa.table({"sample_id": ["a"], "stage": ["filter"], "kept": [kept], "policy": [key]})
        parts.stage(store, key, {"decisions": table})
        parts.commit(store, [key])
    found = {(r["sample_id"], r["stage"]): r["kept"] for r in store.read("decisions").to_pylist()}
    assert found == {("a", "collect"): True, ("b", "collect"): True, ("a", "filter"): True}
    assert store.read("decisions").num_rows == 3


def test_of_a_sample_in_two_parts_the_later_part_counts(store, rows):
    parts.stage(store, "old", rows(["a", "b"]))
    parts.stage(store, "new", rows(["a"], text="newer"))
    parts.commit(store, ["old", "new"])
    assert texts(store) == {"a": "newer a", "b": "a caption b"}
    assert store.read("decisions").num_rows == 2


def test_tables_without_ids_are_only_appended(store):
    for key in "pq":
        parts.stage(store, key, {"attempts": pa.table({"url": ["u"], "attempt": [1], "outcome": [key]})})
    parts.commit(store, ["p", "q"])
    assert sorted(store.read("attempts")["outcome"].to_pylist()) == ["p", "q"]


def test_what_a_killed_process_left_half_written_is_swept(store, rows):
    (store.folder("staging") / f".p.{parts.machine()}.999999999").mkdir()
    (store.folder("staging") / ".done-q").mkdir()
    parts.stage(store, "p", rows(["a"]))
    parts.commit(store, ["p"])
    assert list(store.folder("staging").iterdir()) == []


def test_what_another_machine_writes_is_left_to_it_for_a_day(store):
    """Its processes cannot be seen from here."""
    young, old = (store.folder("staging") / f".{key}.elsewhere.999999999" for key in "pq")
    for folder in (young, old):
        folder.mkdir()
    past = time.time() - 2 * parts.ELSEWHERE_S
    os.utime(old, (past, past))
    assert parts.sweep(store) == 1
    assert young.is_dir()


def scenario(store: Store, rows) -> list[list[str]]:
    """New parts, a shared picture, then changed samples: every kind of write that a commit makes."""
    parts.stage(store, "p", rows(["a", "b"], pictures=["cat", "dog"]))
    parts.stage(store, "q", rows(["c"], pictures=["cat"]))
    return [["p", "q"]]


def second(store: Store, rows) -> list[list[str]]:
    tokens = pa.table({"sample_id": ["a", "b"], "tokenizer_id": ["t", "t"]})
    store.append("text_tokens", tokens, parts=["tokens"])
    parts.stage(store, "p2", rows(["a", "d"], text="changed", pictures=["fox", "dog"]))
    parts.stage(store, "r", rows(["e"]))
    return [["p2", "r"]]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("stop", range(9))
def test_interrupted_at_any_write_and_committed_again(tmp_path, monkeypatch, rows, stop, moment):
    """Stopped before or after the n-th commit: the next try ends where an undisturbed one does."""
    calm = Store.open(tmp_path / "calm")
    for steps in (scenario, second):
        for batch in steps(calm, rows):
            parts.commit(calm, batch)

    broken = Store.open(tmp_path / "broken")
    real, left = Store.commit, [stop]

    def commit(self, *arguments, **named):
        left[0] -= 1
        if left[0] != -1:
            return real(self, *arguments, **named)
        if moment == "after":
            real(self, *arguments, **named)
        raise Stopped

    interrupted = 0
    for steps in (scenario, second):
        for batch in steps(broken, rows):
            with monkeypatch.context() as patch:
                patch.setattr(Store, "commit", commit)
                try:
                    parts.commit(broken, batch)
                except Stopped:
                    interrupted += 1
            again = Store.open(broken.path)
            parts.commit(again, batch)
            assert parts.waiting(again) == []
    assert content(Store.open(broken.path)) == content(calm)
    assert interrupted == 1
