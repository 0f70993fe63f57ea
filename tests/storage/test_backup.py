"""There and back: equal content, old versions too, and no half of either."""

from __future__ import annotations

import pyarrow as pa
import pytest

from storage import backup, snapshot
from storage.errors import BackupError
from storage.snapshot import Snapshot
from storage.store import Store
from storage.tables import signal_table

TOKENS = {"text_tokenizer": "tt", "image_tokenizer": "it"}


@pytest.fixture
def filled(store, ingest):
    """A store with a snapshot, later changes, an annotator's table and a checkpoint's file."""
    ingest("p", ["a", "b"])
    snapshot.create(store, "first", **TOKENS)
    ingest("q", ["c"])
    ingest("p2", ["a"], text="changed")
    store.append(
        signal_table("nice", "image_id", pa.schema([("score", pa.float32())])),
        pa.table({"image_id": ["x"], "score": [0.5]}),
        parts=["n"],
    )
    (store.folder("checkpoints") / "one").mkdir()
    (store.folder("checkpoints") / "one" / "model.safetensors").write_bytes(b"weights")
    return store


def test_a_round_trip_gives_equal_content(filled, tmp_path):
    backup.backup(filled, tmp_path / "backup")
    restored = Store.open(backup.restore(tmp_path / "backup", tmp_path / "again"), create=False)
    assert restored.versions() == filled.versions()
    for table in filled.tables():
        for version in range(filled.version(table) + 1):
            assert snapshot.content_hash(restored, table, version) == snapshot.content_hash(
                filled, table, version
            )
    assert Snapshot.open(restored, "first") == Snapshot.open(filled, "first")
    assert Snapshot.open(restored, "first").samples() == Snapshot.open(filled, "first").samples()
    assert (restored.path / "checkpoints/one/model.safetensors").read_bytes() == b"weights"
    assert restored.has("samples", "p2")
    assert restored.table("nice") == filled.table("nice")


def test_a_restored_store_lives_on_without_the_first(filled, tmp_path):
    backup.backup(filled, tmp_path / "backup")
    restored = Store.open(backup.restore(tmp_path / "backup", tmp_path / "again"))
    import shutil

    shutil.rmtree(filled.path)
    restored.append("samples", pa.table({"sample_id": ["z"]}), parts=["z"])
    assert restored.delete("samples", ["a"]) == 1
    assert sorted(restored.read("samples")["sample_id"].to_pylist()) == ["b", "c", "z"]
    assert str(tmp_path / "again") in restored.files("samples")[0]


WRITER = """
import sys, pyarrow as pa
from storage.store import Store
store = Store.open(sys.argv[1])
print("ready", flush=True)
for n in range(100_000):
    store.append("samples", pa.table({"sample_id": [f"{n}-{i}" for i in range(10)]}), parts=[f"p{n}"])
    store.append("splits", pa.table({"sample_id": [f"{n}-{i}" for i in range(10)]}), parts=[f"p{n}"])
"""


def test_a_backup_while_a_writer_goes_on_is_whole(store, tmp_path, child):
    writer = child(WRITER, store.path)
    assert writer.stdout.readline().strip() == "ready"
    while store.version("samples") < 5:
        assert writer.poll() is None, writer.stderr.read()
    backup.backup(store, tmp_path / "backup")
    writer.kill()
    restored = Store.open(backup.restore(tmp_path / "backup", tmp_path / "again"))
    count = restored.read("samples").num_rows
    assert count >= 50
    assert count % 10 == 0
    assert restored.missing("samples", [f"p{n}" for n in range(count // 10)]) == []


def test_neither_overwrites_anything(filled, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(BackupError, match="not empty"):
        backup.backup(filled, tmp_path / "mine")
    with pytest.raises(BackupError, match="inside the store"):
        backup.backup(filled, filled.path / "backup")
    backup.backup(filled, tmp_path / "backup")
    for place in (tmp_path / "mine", filled.path):
        with pytest.raises(BackupError, match="not empty"):
            backup.restore(tmp_path / "backup", place)
    assert [one.name for one in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_half_a_backup_is_not_restored(filled, tmp_path):
    with pytest.raises(BackupError, match="not a whole backup"):
        backup.restore(filled.path, tmp_path / "again")
    backup.backup(filled, tmp_path / "backup")
    (tmp_path / "backup" / backup.MANIFEST).unlink()
    with pytest.raises(BackupError, match="not a whole backup"):
        backup.restore(tmp_path / "backup", tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_backup_is_not_restored(filled, tmp_path, damage):
    backup.backup(filled, tmp_path / "backup")
    file = next((tmp_path / "backup/tables/samples").glob("*.parquet"))
    if damage == "missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with pytest.raises(BackupError, match=r"damaged.*nothing was restored"):
        backup.restore(tmp_path / "backup", tmp_path / "again")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["backup", "store"]
