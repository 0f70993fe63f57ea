"""What a store that cannot be opened or read says."""

from __future__ import annotations

import json
import re

import pyarrow as pa
import pytest

from storage.errors import StoreCorrupt, StoreNotFound, StoreOlder, StoreTooNew
from storage.store import Store
from storage.tables import SCHEMA_VERSION


def rewrite(store: Store, **changes: object) -> None:
    file = store.path / "store.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def one_line(error: pytest.ExceptionInfo) -> bool:
    return "\n" not in str(error.value) and "<unknown>" not in str(error.value)


def test_no_store_and_none_wanted(tmp_path):
    with pytest.raises(StoreNotFound, match="millrace ingest"):
        Store.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreNotFound, match="not a store and not empty"):
        Store.open(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_address_is_not_taken_for_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreNotFound, match="s3://bucket/store"):
        Store.open("s3://bucket/store")
    assert list(tmp_path.iterdir()) == []


def test_a_percent_sign_in_the_path_is_refused(tmp_path):
    with pytest.raises(StoreNotFound, match="percent sign"):
        Store.open(tmp_path / "st%20re")


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreNotFound):
        Store.open(tmp_path / "store" / "inner")


def test_a_newer_store_is_not_touched(store):
    rewrite(store, schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(StoreTooNew, match="install a newer millrace"):
        Store.open(store.path)


def test_an_older_store_names_the_command(store):
    rewrite(store, schema_version=SCHEMA_VERSION - 1)
    with pytest.raises(StoreOlder, match="millrace migrate"):
        Store.open(store.path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"tables": []}', '{"schema_version": 1, "tables": [{}]}']
)
def test_unreadable_metadata(store, content):
    (store.path / "store.json").write_text(content)
    with pytest.raises(StoreCorrupt, match="millrace restore"):
        Store.open(store.path)


def test_lost_metadata_beside_tables_is_not_a_new_store(store):
    store.append("samples", pa.table({"sample_id": ["a"]}), parts=["p"])
    (store.path / "store.json").unlink()
    with pytest.raises(StoreCorrupt, match=re.escape("no store.json")):
        Store.open(store.path)


def damage_empty(file):
    file.write_bytes(b"")


def damage_garbage(file):
    file.write_bytes(b"\x00\xff garbage {")


def damage_cut(file):
    file.write_bytes(file.read_bytes()[:-40])


def damage_lost_line(file):
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize("damage", [damage_empty, damage_garbage, damage_cut, damage_lost_line])
@pytest.mark.parametrize("commit", [1, 2])
def test_a_damaged_log_is_an_error_and_never_fewer_rows(store, damage, commit):
    store.append("samples", pa.table({"sample_id": ["a"]}), parts=["p"])
    store.append("samples", pa.table({"sample_id": ["b"]}), parts=["q"])
    store.append("splits", pa.table({"sample_id": ["a"]}), parts=["p"])
    damage(store.path / f"tables/samples/_delta_log/{commit:020}.json")
    fresh = Store.open(store.path)
    for use in (
        lambda: fresh.read("samples"),
        lambda: fresh.has("samples", "x"),
        lambda: fresh.connect(),
        lambda: fresh.append("samples", pa.table({"sample_id": ["c"]}), parts=["r"]),
    ):
        with pytest.raises(StoreCorrupt, match=r"samples.*millrace restore") as error:
            use()
        assert one_line(error)
    assert fresh.read("splits").num_rows == 1


def test_a_lost_commit_is_an_error(store):
    for part in "pqr":
        store.append("samples", pa.table({"sample_id": [part]}), parts=[part])
    (store.path / f"tables/samples/_delta_log/{2:020}.json").unlink()
    with pytest.raises(StoreCorrupt, match="samples") as error:
        Store.open(store.path).read("samples")
    assert one_line(error)


@pytest.mark.parametrize("content", [None, b"PAR1 not parquet"])
def test_a_lost_or_damaged_data_file_is_an_error(store, content):
    store.append("samples", pa.table({"sample_id": ["a"]}), parts=["p"])
    from pathlib import Path

    file = Path(store.files("samples")[0])
    file.write_bytes(content) if content else file.unlink()
    with pytest.raises(StoreCorrupt, match="millrace restore") as error:
        Store.open(store.path).read("samples")
    assert one_line(error)
