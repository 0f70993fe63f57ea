"""Digests that are kept spare hashing rows again, and never change what a snapshot's hash is."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from storage import snapshot, upkeep
from storage.store import Store

TOKENS = {"text_tokenizer": "tt", "image_tokenizer": "it"}


def anew(store: Store) -> str:
    """The hash of the kept rows, none of it from what is kept."""
    with store.connect() as con:
        snapshot.choose(con, None, ())
        return snapshot.hash_members(con, "tt", "it")


def hashed(store: Store) -> int:
    """How many rows a snapshot of now would hash."""
    with store.connect() as con:
        snapshot.choose(con, None, ())
        snapshot.hash_members(con, "tt", "it", store, store.versions())
        return snapshot.count(con, "FROM fresh")


def test_only_what_came_in_since_is_hashed(store, ingest):
    ingest("p", ["a", "b"])
    assert snapshot.create(store, **TOKENS).content_hash == anew(store)
    assert hashed(store) == 0
    ingest("q", ["c"], split="test")
    assert hashed(Store.open(store.path)) == 1
    assert snapshot.create(store, **TOKENS).content_hash == anew(store)


def test_what_changed_is_hashed_again(store, ingest):
    ingest("p", ["a", "b"])
    ingest("q", ["c"])
    before = snapshot.create(store, **TOKENS)
    ingest("r", ["a"], text="changed")
    made = snapshot.create(store, **TOKENS)
    assert made.content_hash == anew(store) != before.content_hash


def test_a_row_that_is_dropped_no_longer_counts(store, ingest):
    ingest("p", ["a", "b"])
    snapshot.create(store, **TOKENS)
    late = pa.table({"sample_id": ["b"], "stage": ["late"], "kept": [False]})
    store.append("decisions", late, parts=["late"])
    made = snapshot.create(store, **TOKENS)
    assert made.rows == 1
    assert made.content_hash == anew(store)


def test_other_tokenizers_take_none_of_them(store, ingest):
    ingest("p", ["a"])
    snapshot.create(store, **TOKENS)
    with store.connect() as con:
        snapshot.choose(con, None, ())
        data = snapshot.hash_members(con, None, None, store, store.versions())
        assert snapshot.count(con, "FROM fresh") == 1
        assert data == snapshot.hash_members(con, None, None) != anew(store)


@pytest.mark.parametrize("table", ["samples", "text_tokens", "image_tokens"])
def test_files_put_together_or_rows_put_in_anew_are_hashed_again(store, ingest, table: str):
    ingest("p", ["a"])
    ingest("q", ["b"])
    assert snapshot.create(store, **TOKENS).content_hash == anew(store)
    assert hashed(store) == 0
    upkeep.optimize(store, table)
    assert hashed(Store.open(store.path)) == 2


def test_tokens_that_changed_change_the_hash(store, ingest):
    ingest("p", ["a", "b"])
    before = snapshot.create(store, **TOKENS)
    store.delete("text_tokens", ["a"])
    schema = store.table("text_tokens").schema.remove_metadata()
    row = [{"sample_id": "a", "tokenizer_id": "tt", "prompt_ids": [], "ids": [7]}]
    fields = pa.schema([schema.field(name) for name in row[0]])
    store.append("text_tokens", pa.Table.from_pylist(row, fields), parts=["other"])
    made = snapshot.create(store, **TOKENS)
    assert made.content_hash == anew(store) != before.content_hash


def torn(content: bytes) -> bytes:
    return content[: len(content) // 2]


def overwritten(content: bytes) -> bytes:
    """With its footer as it was."""
    return b"PAR1" + b"\xff" * 200 + content[204:]


@pytest.mark.parametrize(
    "harm", [lambda _: b"", lambda _: b"PAR1 and then something else", torn, overwritten]
)
def test_a_torn_file_is_as_good_as_none(store, ingest, harm):
    ingest("p", ["a", "b"])
    wanted = snapshot.create(store, **TOKENS).content_hash
    file: Path = store.path / "cache" / "digests.parquet"
    file.write_bytes(harm(file.read_bytes()))
    assert hashed(store) == 2
    ingest("q", ["c"])
    assert snapshot.create(store, **TOKENS).content_hash == anew(store) != wanted


def test_none_are_kept_of_versions_from_before_a_takedown(store, ingest):
    ingest("p", ["a", "b"])
    versions = store.versions()
    with store.connect(versions) as con:
        snapshot.choose(con, None, ())
        store.append("blocklist", store.read("blocklist").drop(["part"]), parts=["blocked"])
        snapshot.hash_members(con, "tt", "it", store, versions)
    assert not (store.path / "cache" / "digests.parquet").exists()
