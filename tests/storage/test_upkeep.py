"""Compaction changes no row, and vacuum takes nothing that somebody reads."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from storage import snapshot, upkeep
from storage.snapshot import Snapshot, content_hash
from storage.store import Store


def test_small_files_are_put_together(store):
    for n in range(8):
        store.append("images", pa.table({"image_id": [f"{n}"], "image": [b"x" * n]}), parts=[f"p{n}"])
    before = content_hash(store, "images")
    assert upkeep.optimize(store, "images") == (8, 1)
    assert content_hash(store, "images") == before
    assert upkeep.optimize(store, "images") == (1, 1)
    fresh = Store.open(store.path)
    assert all(fresh.has("images", f"p{n}") for n in range(8))
    assert fresh.read("images", version=3).num_rows == 3


def test_vacuum_keeps_the_newest_and_every_snapshot(store, ingest):
    ingest("p", ["a"])
    made = snapshot.create(store, "first", text_tokenizer="tt", image_tokenizer="it")
    pinned = set(store.files("samples"))
    ingest("q", ["b"])
    ingest("r", ["c"])
    upkeep.optimize(store, "samples")
    compacted = set(store.files("samples"))
    ingest("s", ["d"])
    upkeep.optimize(store, "samples")
    orphan = store.path / "tables/samples/part-orphan.parquet"
    orphan.write_bytes(b"a killed writer's")
    removed = set(upkeep.vacuum(store, keep_hours=0))
    assert str(orphan) in removed
    assert compacted <= removed
    assert not pinned & removed
    assert all(Path(file).exists() for file in [*store.files("samples"), *pinned])
    assert Snapshot.open(store, "first").samples() == made.samples()
    assert store.read("samples").num_rows == 4


def test_young_files_are_left_alone(store):
    store.append("samples", pa.table({"sample_id": ["a", "b"]}), parts=["p"])
    store.delete("samples", ["a"])
    assert upkeep.vacuum(store) == []
    assert store.read("samples", version=1).num_rows == 2
