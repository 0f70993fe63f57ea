"""A store whose tables lie in a bucket: the same rows and hashes as on a disk, over one S3 server on loopback."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import backup, catalog, commits, location, parts, purge, question, snapshot, takedown, upkeep
from storage.bucket import Address
from storage.errors import StoreElsewhere, StoreError, StoreNotFound, StoreUnreachable
from storage.store import Store
from storage.tables import SAMPLE_ID, Column, Table


@pytest.fixture
def there(tmp_path, new_bucket) -> Store:
    return Store.open(tmp_path / "mill", tables=f"s3://{new_bucket}/corpus")


def objects(store: Store) -> list[str]:
    from pyarrow import fs

    address: Address = store.home.address
    found = address.client().get_file_info(fs.FileSelector(address.place, recursive=True))
    return sorted(one.path.removeprefix(address.place + "/") for one in found if one.is_file)


def texts(store: Store, **more) -> dict[str, str]:
    rows = store.read("samples", ["sample_id", "text"], **more).to_pylist()
    return {row["sample_id"]: row["text"] for row in rows}


def test_the_same_rows_give_the_same_hashes(store, there, ingest, tmp_path):
    for target in (store, there):
        ingest("p1", ["a", "b", "c"], into=target)
        ingest("p2", ["c", "d"], text="another", into=target)  # c changed
        target.delete("samples", ["a"])
    assert texts(there) == {"b": "a caption b", "c": "another c", "d": "another d"}
    tables = store.tables()
    assert there.tables() == tables
    for table in tables:
        assert snapshot.content_hash(there, table) == snapshot.content_hash(store, table)
    made = [snapshot.create(one, text_tokenizer="tt", image_tokenizer="it") for one in (store, there)]
    assert made[0].content_hash == made[1].content_hash and made[1].rows == 3
    assert [batch.num_rows for batch in made[1].images()] == [3]
    assert not (there.path / "tables").exists()
    assert "store.json" in objects(
        there
    ) and "tables/samples/_delta_log/00000000000000000000.json" in objects(there)


def test_the_folder_remembers_the_bucket(there, ingest, rows, new_bucket, tmp_path):
    ingest("p1", ["a"], into=there)
    again = Store.open(there.path, create=False)
    assert texts(again) == {"a": "a caption a"}
    with pytest.raises(
        StoreElsewhere, match=f"has its tables in s3://{new_bucket}/corpus, and .* s3://{new_bucket}/x"
    ):
        Store.open(there.path, tables=f"s3://{new_bucket}/x")
    Store.open(tmp_path / "plain")
    with pytest.raises(StoreElsewhere, match="has its tables in that folder"):
        Store.open(tmp_path / "plain", tables=f"s3://{new_bucket}/x")
    with pytest.raises(StoreNotFound, match="no store in s3://"):
        Store.open(tmp_path / "other", create=False, tables=f"s3://{new_bucket}/x")
    assert not (tmp_path / "other").exists()


def test_what_one_machine_declares_the_other_knows(there, new_bucket, tmp_path):
    def declare(store: Store, name: str, *columns: str) -> None:
        made = (SAMPLE_ID, *(Column(one, pa.int32(), one) for one in columns))
        store.append(
            Table(name, name, ("sample_id",), made), pa.table({"sample_id": ["a"]}), parts=["p" + name]
        )

    declare(there, "one", "words")
    other = Store.open(tmp_path / "elsewhere", create=False, tables=f"s3://{new_bucket}/corpus")
    declare(other, "two", "letters")
    there.declare(
        Table(
            "one", "one", ("sample_id",), (SAMPLE_ID, *(Column(c, pa.int32(), c) for c in ("words", "more")))
        )
    )
    for store in (there, other, Store.open(other.path)):
        assert {table.name: len(table.columns) for table in store.declared()} == {"one": 3, "two": 2}
        with store.connect() as db:
            assert db.sql("SELECT one_more, two_letters FROM signals").fetchall() == []


@pytest.mark.slow
def test_upkeep_of_a_bucket(there, ingest):
    for n in range(4):
        ingest(f"p{n}", [f"s{n}"], into=there)
    pinned = snapshot.create(there, text_tokenizer="tt", image_tokenizer="it")
    there.delete("samples", ["s0"])
    [samples] = [one for one in upkeep.tidy(there, keep_hours=1) if one.table == "samples"]
    assert samples.files_before > 1 == samples.files_after
    assert texts(there) == {f"s{n}": f"a caption s{n}" for n in (1, 2, 3)}
    there.delete("samples", ["s1"])
    before = objects(there)
    removed = upkeep.vacuum(there, keep_hours=0)
    assert len(removed) == 1 and set(before) - set(objects(there)) == {removed[0].partition("/corpus/")[2]}
    assert texts(there) == {f"s{n}": f"a caption s{n}" for n in (2, 3)}
    assert texts(there, version=pinned.versions["samples"]).keys() == {"s0", "s1", "s2", "s3"}
    assert snapshot.Snapshot.open(there).samples().num_rows == 4


@pytest.mark.slow
def test_sql_and_catalog_over_a_bucket(there, ingest):
    ingest("p1", ["a", "b"], into=there)
    assert question.ask(there, "SELECT count(*) AS n FROM signals").to_pylist() == [{"n": 2}]
    assert catalog.rebuild(there).exists() and catalog.stale(there)


@pytest.mark.slow
def test_a_backup_of_a_bucket_is_a_store_of_its_own_and_goes_back_into_a_bucket(
    there, ingest, new_bucket, tmp_path
):
    ingest("p1", ["a", "b"], into=there)
    there.delete("samples", ["a"])
    saved = backup.backup(there, tmp_path / "saved")
    here = Store.open(backup.restore(saved, tmp_path / "here"), create=False)
    backup.restore(saved, tmp_path / "mill2", f"s3://{new_bucket}/again")
    for store in (here, Store.open(tmp_path / "mill2", create=False)):
        assert snapshot.content_hash(store, "samples") == snapshot.content_hash(there, "samples")
        assert store.versions() == there.versions() and texts(store) == {"b": "a caption b"}
        store.append("splits", store.read("splits").slice(0, 1), parts=["later"])
    with pytest.raises(StoreError, match="holds a store"):
        backup.restore(saved, tmp_path / "mill3", f"s3://{new_bucket}/again")


def test_pictures_are_stored_once_by_two_machines(there, rows, new_bucket, tmp_path):
    other = Store.open(tmp_path / "elsewhere", create=False, tables=f"s3://{new_bucket}/corpus")
    parts.stage(there, "p1", rows(["a"], pictures=["x"]))
    parts.stage(other, "p2", rows(["b"], pictures=["x"]))
    parts.stage(other, "p1", rows(["a"], pictures=["x"]))
    parts.commit(there, ["p1"])
    parts.commit(other, ["p1", "p2"])
    assert there.read("images").num_rows == 1 and texts(there).keys() == {"a", "b"}


def test_a_missing_bucket_leaves_nothing_behind(there, tmp_path):
    with pytest.raises(StoreUnreachable, match="no-such-bucket-1: no such bucket; look at its name"):
        Store.open(tmp_path / "new", tables="s3://no-such-bucket-1/x")
    assert not (tmp_path / "new").exists()


def test_a_takedown_reaches_every_version_in_the_bucket(there, store, ingest):
    hashes = []
    for one in (there, store):
        ingest("one", ["a1", "b2", "c3"], into=one, text="first words of")
        snapshot.create(one, "first", text_tokenizer="tt", image_tokenizer="it")
        ingest("two", ["d4", "e5"], into=one, text="other words of")
        parts.stage(one, "left", {"samples": one.read("samples", where="sample_id = 'b2'").drop(["part"])})
        versions = one.versions()
        gone = one.read("samples", where="sample_id = 'b2'")["image_id"].to_pylist()
        said = ["first words of b2"]
        planned = takedown.weighed(one, takedown.Takedown("r", "steward", (), (), ["b2"], gone, (), said))
        assert planned.counts["samples"] == 1 and planned.snapshots == ["first"]
        assert "first words of b2" in texts(one).values(), "it is found before"
        takedown.write_down(one, planned)
        takedown.record(one, planned, takedown.carry_out(one, planned))
        for version in range(versions["samples"] + 1):
            assert "b2" not in texts(one, version=version)
        assert snapshot.Snapshot.open(one, "first").samples()["sample_id"].to_pylist() == ["a1", "c3"]
        hashes.append(snapshot.Snapshot.open(one, "first").content_hash)
    assert hashes[0] == hashes[1], "as of a store in a folder"
    address = there.home.address
    for name in objects(there):
        with address.client().open_input_file((address / name).place) as opened:
            content = opened.read()
        assert purge.SCRATCH not in name and b"first words of b2" not in content
        if name.endswith(".parquet") and "_delta_log" not in name:
            rows = pq.read_table(pa.BufferReader(content)).to_pylist()
            assert not [row for row in rows if {"b2", "first words of b2"} & set(map(str, row.values()))], (
                name
            )
    held = commits.handle(there._log("samples"), there.table("samples"))  # by which the next commit is made
    for table in (location.table(there.place("samples")), held):
        told = pa.table(table.get_add_actions(flatten=True)).to_pylist()
        sizes = there.place("samples").sizes(one["path"] for one in told)
        assert {one["path"]: one["size_bytes"] for one in told} == sizes
