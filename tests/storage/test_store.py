"""Tables: appended once, read at any version, deleted without a trace of the text."""

from __future__ import annotations

import pyarrow as pa
import pytest

from storage.errors import PartConflict, StoreError
from storage.store import Store
from storage.tables import TABLES, signal_table

SECRET = "telephone 0171 555"


def samples(*ids: str, text: str = "x") -> pa.Table:
    return pa.table({"sample_id": list(ids), "text": [text] * len(ids)})


def log_text(store: Store, table: str) -> str:
    folder = store.path / "tables" / table / "_delta_log"
    return "".join(file.read_text() for file in sorted(folder.glob("*.json")))


def test_a_part_is_appended_once(store):
    assert store.append("samples", samples("a", "b"), parts=["p"])
    assert not store.append("samples", samples("a", "b"), parts=["p"])
    assert store.read("samples", ["sample_id"]).num_rows == 2
    assert store.version("samples") == 1


def test_a_commit_of_parts_that_are_partly_there_is_refused(store):
    store.append("samples", samples("a"), parts=["p"])
    with pytest.raises(PartConflict, match="1 of 2 parts"):
        store.append("samples", samples("a", "b"), parts=["p", "q"])
    assert store.missing("samples", ["q", "p", "r"]) == ["q", "r"]


def test_a_part_without_rows_counts_as_done(store):
    store.append("samples", samples(), parts=["empty"])
    assert store.has("samples", "empty")
    assert store.read("samples").num_rows == 0
    assert Store.open(store.path).has("samples", "empty")


def test_missing_columns_become_null_and_types_are_cast(store):
    narrow = pa.table(
        {"run_id": ["r"], "step": pa.array([3], pa.int8()), "value": pa.array([0.5], pa.float32())}
    )
    store.append("metrics", narrow, parts=["p"])
    (row,) = store.read("metrics").to_pylist()
    assert (row["step"], row["value"], row["name"], row["part"]) == (3, 0.5, None, "p")
    assert store.read("metrics").schema == TABLES["metrics"].schema.remove_metadata()


def test_an_unknown_column_is_named(store):
    with pytest.raises(StoreError, match="samples has no column captoin"):
        store.append("samples", pa.table({"captoin": ["x"]}), parts=["p"])
    with pytest.raises(StoreError, match="no table 'smaples'"):
        store.read("smaples")


def test_a_value_that_does_not_fit_is_named(store):
    with pytest.raises(StoreError, match=r"metrics\.step"):
        store.append("metrics", pa.table({"step": ["three"]}), parts=["p"])
    assert store.version("metrics") in (-1, 0)


def test_a_stream_is_appended_like_a_table(store):
    stream = pa.table({"sample_id": [f"{n}" for n in range(1000)]}).to_reader(max_chunksize=7)
    store.append("samples", stream, parts=["p"])
    assert store.read("samples").num_rows == 1000


def test_a_table_that_does_not_exist_reads_as_empty(store):
    assert store.read("images").num_rows == 0
    assert store.read("images").schema.names == TABLES["images"].schema.names
    assert store.version("images") == -1
    assert store.files("images") == []
    assert not store.has("images", "p")
    assert store.tables() == []


def test_other_stores_on_the_folder_see_new_commits(store):
    other = Store.open(store.path)
    assert not other.has("samples", "p")
    store.append("samples", samples("a"), parts=["p"])
    assert other.has("samples", "p")
    assert other.read("samples").num_rows == 1


def test_delete_removes_rows_by_id_and_pinned_versions_keep_them(store):
    store.append("samples", samples("a", "b", "c"), parts=["p"])
    before = store.version("samples")
    assert store.delete("samples", ["b", "unknown"]) == 1
    assert sorted(store.read("samples")["sample_id"].to_pylist()) == ["a", "c"]
    assert store.read("samples", version=before).num_rows == 3
    assert store.has("samples", "p")


def test_delete_of_nothing_writes_nothing(store):
    store.append("samples", samples("a"), parts=["p"])
    before = store.version("samples")
    assert store.delete("samples", ["z"]) == 0
    assert store.delete("samples", []) == 0
    assert store.version("samples") == before


def test_delete_of_every_row_leaves_an_empty_table(store):
    store.append("samples", samples("a", "b"), parts=["p"])
    assert store.delete("samples", pa.array(["a", "b"])) == 2
    assert store.read("samples").num_rows == 0
    store.append("samples", samples("c"), parts=["q"])
    assert store.read("samples")["sample_id"].to_pylist() == ["c"]


def test_delete_can_be_narrowed_to_a_stage(store):
    both = pa.table({"sample_id": ["a", "a"], "stage": ["collect", "filter"], "kept": [True, False]})
    store.append("decisions", both, parts=["p"])
    assert store.delete("decisions", ["a"], {"stage": "filter"}) == 1
    assert store.read("decisions")["stage"].to_pylist() == ["collect"]


def test_clear_removes_what_matches(store):
    both = pa.table({"sample_id": ["a", "b"], "stage": ["collect", "fil'ter"], "kept": [True, False]})
    store.append("decisions", both, parts=["p"])
    assert store.clear("decisions", {"stage": "fil'ter"}) == 1
    assert store.clear("decisions", {"stage": "none"}) == 0
    assert store.clear("decisions", {}) == 1
    assert store.clear("splits", {}) == 0


def test_the_log_never_holds_text_nor_deleted_ids(store):
    store.append("samples", samples("first", "second", "third", text=SECRET), parts=["p"])
    store.delete("samples", ["second"])
    text = log_text(store, "samples")
    assert SECRET not in text
    assert "second" not in text
    assert "first" in text  # bounds of ids are there: the check above looks in the right place


def test_pinned_versions_outlive_many_commits(store):
    for n in range(105):  # delta-rs makes a checkpoint after 100 and may then clean its log
        store.append("metrics", pa.table({"step": [n]}), parts=[f"p{n}"])
    assert (store.path / "tables/metrics/_delta_log/_last_checkpoint").exists()
    fresh = Store.open(store.path)
    assert fresh.read("metrics", version=3).num_rows == 3
    assert fresh.has("metrics", "p0")
    assert fresh.has("metrics", "p104")
    assert not fresh.has("metrics", "p105")
    assert fresh.version("metrics") == store.version("metrics") == 105


def test_pictures_are_stored_uncompressed_and_without_statistics(store):
    import pyarrow.parquet as pq

    store.append("images", pa.table({"image_id": ["a"], "image": [b"x" * 5000]}), parts=["p"])
    column = pq.read_metadata(store.files("images")[0]).row_group(0).column(1)
    assert column.path_in_schema == "image"
    assert column.compression == "UNCOMPRESSED"
    assert column.statistics is None


def test_folders_are_those_that_exist_in_every_store(store):
    assert store.folder("checkpoints").is_dir()
    with pytest.raises(StoreError, match="no folder 'etc'"):
        store.folder("etc")


def test_a_lock_is_taken_again_by_its_holder_and_by_another_store(store):
    with store.lock(), store.lock(), Store.open(store.path).lock():
        store.append("samples", samples("a"), parts=["p"])
    assert store.has("samples", "p")


# Annotators' tables


AESTHETICS = signal_table(
    "aesthetics",
    "image_id",
    pa.schema([("score", pa.float32()), ("vector", pa.list_(pa.float32()))]),
    "How nice.",
)


def test_a_declared_table_is_remembered_by_the_store(store):
    store.declare(AESTHETICS)
    again = Store.open(store.path)
    assert again.table("aesthetics") == AESTHETICS
    assert again.read("aesthetics").schema.field("vector").type == pa.list_(pa.float32())
    assert again.tables() == []
    again.append("aesthetics", pa.table({"image_id": ["a"], "score": [0.5]}), parts=["p"])
    assert store.tables() == ["aesthetics"]


def test_declaring_the_same_again_writes_nothing(store):
    store.declare(AESTHETICS)
    before = (store.path / "store.json").stat()
    store.declare(AESTHETICS)
    Store.open(store.path).declare(AESTHETICS)
    assert (store.path / "store.json").stat().st_ino == before.st_ino


def test_a_declared_table_may_get_more_columns(store):
    store.append(AESTHETICS, pa.table({"image_id": ["a"], "score": [0.5]}), parts=["p"])
    pinned = store.version("aesthetics")
    wider = signal_table(
        "aesthetics", "image_id", pa.schema([("score", pa.float32()), ("note", pa.string())])
    )
    store.append(wider, pa.table({"image_id": ["b"], "score": [0.25], "note": ["new"]}), parts=["q"])
    found = {row["image_id"]: row["note"] for row in Store.open(store.path).read("aesthetics").to_pylist()}
    assert found == {"a": None, "b": "new"}
    assert store.read("aesthetics", version=pinned)["note"].to_pylist() == [None]
    assert store.delete("aesthetics", ["a"]) == 1
    assert store.read("aesthetics")["vector"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        ("score", pa.string(), "is float in this store, not string"),
        ("hash", pa.uint64(), "use int64"),
        ("half", pa.list_(pa.float16()), "use int64, int32 or float32"),
        ("both", pa.struct([("a", pa.int32())]), "cannot be stored"),
    ],
)
def test_a_column_that_cannot_be_stored_is_refused(store, column, kind, message):
    store.declare(AESTHETICS)
    with pytest.raises(StoreError, match=message):
        store.declare(signal_table("aesthetics", "image_id", pa.schema([(column, kind)])))
    assert store.table("aesthetics") == AESTHETICS


def test_a_core_table_cannot_be_declared(store):
    with pytest.raises(StoreError, match="give the annotator another name"):
        store.declare(signal_table("samples", "sample_id", pa.schema([("x", pa.int32())])))
