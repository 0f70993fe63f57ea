"""Compaction changes no row, and vacuum takes nothing that somebody reads."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import backup, catalog, parts, snapshot, upkeep
from storage import rows as rows_module
from storage.lock import FileLock
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


def test_rows_that_were_put_together_lie_in_the_order_of_their_ids(store):
    for ids in (["d", "a"], ["c"], ["b", "e"]):
        store.append("samples", pa.table({"sample_id": ids}), parts=[ids[0]])
    upkeep.optimize(store, "samples")
    [file] = store.files("samples")
    assert pq.read_table(file)["sample_id"].to_pylist() == ["a", "b", "c", "d", "e"]


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


def test_full_files_are_not_written_again(store, monkeypatch):
    """A file is full by its size on the disk, however well it was compressed: what is done is done."""
    for module in (rows_module, upkeep):
        monkeypatch.setattr(module, "FILE_BYTES", 60_000)
    monkeypatch.setattr(rows_module, "GROUP_ROWS", 500)
    for n in range(40):  # long texts that shrink to a twentieth
        ids = [f"{n}-{i}" for i in range(500)]
        texts = [
            f"{i % 7} " * 200 + hashlib.sha256(f"{one}".encode()).hexdigest() for i, one in enumerate(ids)
        ]
        store.append("samples", pa.table({"sample_id": ids, "text": texts}), parts=[f"p{n}"])
    before = content_hash(store, "samples")
    files, left = upkeep.optimize(store, "samples")
    assert files > left > 1
    assert upkeep.optimize(store, "samples") == (left, left)
    assert content_hash(store, "samples") == before


def test_what_outweighs_all_else_is_left_alone():
    """Else each call would write the one big file again, and each time a snapshot may go on to need the old one."""
    assert upkeep.worthwhile({"big": 9_000, "a": 100, "b": 120}) == ["a", "b"]
    assert upkeep.worthwhile({"big": 900, "a": 100, "b": 200}) == ["a", "b", "big"]
    assert upkeep.worthwhile({"big": 9_000, "a": 100}) == ["a"]
    assert upkeep.worthwhile({"full": upkeep.FILE_BYTES, "half": upkeep.FILE_BYTES // 2}) == []


def test_files_that_a_snapshot_needs_are_not_copied_without_end(store, ingest):
    for n in range(3):
        ingest(f"p{n}", [f"a{n}"])
    snapshot.create(store, "first", text_tokenizer="tt", image_tokenizer="it")
    for n in range(3):
        ingest(f"q{n}", [f"b{n}"])
    held = set(store.files("samples", Snapshot.open(store).versions["samples"]))
    assert upkeep.costly(store, "samples", 1 << 20) == set()
    assert upkeep.costly(store, "samples", 1_000) == held
    assert upkeep.optimize(store, "samples", spare=held) == (6, 4)
    assert held <= set(store.files("samples"))


def test_a_second_vacuum_makes_no_commit(store):
    store.append("samples", pa.table({"sample_id": ["a", "b"]}), parts=["p"])
    store.delete("samples", ["a"])
    assert len(upkeep.vacuum(store, keep_hours=0)) == 1
    before = store.versions()
    assert upkeep.vacuum(store, keep_hours=0) == []
    assert store.versions() == before


def test_pictures_of_a_part_that_is_half_committed_stay(store, rows):
    """Killed after its pictures, a commit does not write them again."""
    staged = rows(["a", "b"])
    parts.stage(store, "p", staged)
    store.append("images", staged["images"], parts=["p"])  # so far, and then the kill
    orphan = pa.table({"image_id": ["nobody's"], "image": [b"x"]})
    store.append("images", orphan, parts=["other"])
    assert upkeep.drop_orphans(store) == 1
    parts.commit(store, ["p"])
    with store.connect() as con:
        assert con.sql("FROM samples ANTI JOIN images USING (image_id)").fetchall() == []
    assert store.read("images").num_rows == 2


def used(store: Store, ingest) -> Store:
    """Two snapshots, changes between them and after, orphaned pictures, a checkpoint's row and a catalog."""
    for n in range(4):
        ingest(f"p{n}", [f"a{n}", f"b{n}"])
    snapshot.create(store, "first", text_tokenizer="tt", image_tokenizer="it")
    ingest("change", ["a0", "b1"], text="other words")
    store.delete("samples", ["a3"])
    store.delete("decisions", ["a3"])
    ingest("q", ["c"])
    snapshot.create(store, "second", text_tokenizer="tt", image_tokenizer="it")
    ingest("r", ["d"])
    store.append("checkpoints", pa.table({"checkpoint_id": ["k"], "run_id": ["r"], "step": [3]}), parts=["k"])
    catalog.rebuild(store)
    return store


def kept(store: Store) -> dict[str, object]:
    """What upkeep must not change: every row of the newest versions, and all that each snapshot gives."""
    found: dict[str, object] = {
        table: content_hash(store, table)
        for table in store.tables()
        if table not in ("images", "image_tokens")
    }
    for row in snapshot.listing(store):
        one = Snapshot.from_row(store, row)
        with one.connect() as con:
            found[one.name] = snapshot_hash(con)
        pictures = [batch.to_pydict() for batch in one.images(batch=4)]
        found[f"{one.name} reads"] = (
            one.content_hash,
            one.samples(),
            one.text_tokens(),
            one.image_tokens(),
            pictures,
        )
    return found


def snapshot_hash(con) -> str:
    """The content hash of what a snapshot's own connection shows."""
    con.execute("CREATE TEMP TABLE chosen AS SELECT sample_id, split FROM members")
    return snapshot.hash_members(con, "tt", "it")


def test_tidying_changes_no_row_and_a_second_time_nothing_at_all(store, ingest):
    before = kept(used(store, ingest))
    assert before["first"] == Snapshot.open(store, "first").content_hash
    files = sum(len(store.files(table)) for table in store.tables())
    assert upkeep.drop_orphans(store) == 1
    done = upkeep.tidy(store, keep_hours=0)
    assert sum(one.files_before for one in done) >= files > 2 * sum(one.files_after for one in done)
    assert sum(one.bytes_freed for one in done) > 0
    assert kept(store) == kept(Store.open(store.path)) == before
    with duckdb.connect(store.path / catalog.FILE, read_only=True) as con:
        assert con.sql("SELECT count(*) FROM samples").fetchall() == [(9,)]
    disk = {file: file.stat().st_mtime_ns for file in store.path.rglob("*") if file.is_file()}
    assert upkeep.drop_orphans(store) == 0
    again = upkeep.tidy(store, keep_hours=0)
    assert {(one.files_before - one.files_after, one.files_removed, one.bytes_freed) for one in again} == {
        (0, 0, 0)
    }
    assert {file: file.stat().st_mtime_ns for file in store.path.rglob("*") if file.is_file()} == disk


def test_readers_at_work_are_not_disturbed(store, ingest):
    used(store, ingest)
    reading = Snapshot.open(store, "first").images(batch=1)
    seen = [next(reading)]
    with store.connect() as con, Snapshot.open(store, "first").connect() as pinned:
        upkeep.drop_orphans(store)
        upkeep.tidy(store)
        assert con.sql(
            "SELECT count(*), count(image) FROM samples JOIN images USING (image_id)"
        ).fetchall() == [(9, 9)]
        upkeep.tidy(store, keep_hours=0)  # a snapshot's reader minds not even that
        assert pinned.sql("SELECT count(*) FROM samples JOIN images USING (image_id)").fetchall() == [(8,)]
        assert len([*seen, *reading]) == 8


def test_a_snapshot_in_the_making_is_waited_for(store):
    """The versions that it has pinned are named by no row yet."""
    store.append("samples", pa.table({"sample_id": ["a"]}), parts=["p"])
    assert waits_for(store.lock("snapshot"), lambda: upkeep.vacuum(store, keep_hours=0))


def test_a_backup_and_upkeep_wait_for_each_other(store, tmp_path):
    store.append("samples", pa.table({"sample_id": ["a"]}), parts=["p"])
    assert waits_for(store.lock(upkeep.MAINTAIN), lambda: backup.backup(store, tmp_path / "saved"))
    assert (tmp_path / "saved" / backup.MANIFEST).exists()


def waits_for(lock: FileLock, work: Callable[[], object]) -> bool:
    """Whether some work waits while a lock is held, and is done once it is free."""
    thread = threading.Thread(target=work)
    with lock:
        thread.start()
        thread.join(0.5)
        waited = thread.is_alive()
    thread.join(60)
    return waited and not thread.is_alive()


def test_a_lock_is_tried_without_waiting(store, child):
    said: list[bool] = []

    def attempt() -> None:
        with store.lock("run-r").tried() as free:
            said.append(free)

    with store.lock("run-r"):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        attempt()  # a thread may take again what it has
    attempt()
    holder = child(
        "import sys, time\nfrom storage.store import Store\n"
        "with Store.open(sys.argv[1]).lock('run-r'):\n    print('held', flush=True)\n    time.sleep(600)",
        store.path,
    )
    assert holder.stdout.readline().strip() == "held"
    attempt()
    holder.kill()
    holder.wait()
    attempt()
    assert said == [False, True, True, False, True]


def test_checkpoints_say_where_they_lie_or_that_they_are_gone(store):
    saved = pa.table(
        {"checkpoint_id": ["a", "b", "c"], "run_id": ["r", "r", "s"], "step": [1, 2, 3],
         "path": ["checkpoints/r/00000001", "checkpoints/r/00000002", None]}
    )  # fmt: skip
    store.append("checkpoints", saved, parts=["saved"])
    there = ["checkpoints/r/00000002", "checkpoints/s/00000003"]
    assert upkeep.place_checkpoints(store, lambda: there) == 2
    rows = store.read("checkpoints", ["checkpoint_id", "path", "part"]).to_pylist()
    assert {row["checkpoint_id"]: row["path"] for row in rows} == {"a": None, "b": there[0], "c": there[1]}
    assert {row["part"] for row in rows} == {"saved"} and store.has("checkpoints", "saved")
    before = store.version("checkpoints")
    assert upkeep.place_checkpoints(store, lambda: there) == 0
    assert store.version("checkpoints") == before
    assert store.read("checkpoints", version=before - 1).num_rows == 3


UPKEEP = """
import os, sys
from storage import commits, upkeep
from storage.store import Store
from deltalake import DeltaTable

store, left = Store.open(sys.argv[1]), int(sys.argv[2])

def ending(function):
    def ended(*arguments, **more):
        global left
        made = function(*arguments, **more)
        if more.get("dry_run"):
            return made
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        return made
    return ended

commits.commit, DeltaTable.vacuum = ending(commits.commit), ending(DeltaTable.vacuum)
upkeep.write_files = ending(upkeep.write_files)  # files that no commit names
upkeep.drop_orphans(store)
upkeep.place_checkpoints(store, lambda: [])
upkeep.tidy(store, keep_hours=0)
print("done")
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_after_any_of_its_steps_it_has_lost_nothing_and_the_next_call_does_the_rest(
    store, ingest, child
):
    """Each of them in turn is the last thing that a process does."""
    before = kept(used(store, ingest))
    calm = Store.open(shutil.copytree(store.path, store.path.with_name("calm")))
    whole = child(UPKEEP, calm.path, 0)
    assert whole.communicate(timeout=240)[0].strip() == "done"
    files = {table: len(calm.files(table)) for table in calm.tables()}
    kills = 0
    while True:
        path = shutil.copytree(store.path, store.path.with_name(f"killed{kills}"))
        process = child(UPKEEP, path, kills + 1)
        out, error = process.communicate(timeout=240)
        if process.returncode == 0:
            assert out.strip() == "done"
            break
        assert process.returncode == -9, error
        kills += 1
        again = Store.open(path)
        assert without_path(kept(again)) == without_path(before)
        upkeep.drop_orphans(again)
        upkeep.place_checkpoints(again, list)
        upkeep.tidy(again, keep_hours=0)
        assert without_path(kept(again)) == without_path(before)
        assert {table: len(again.files(table)) for table in again.tables()} == files
        assert sorted(file.name for file in (path / "tables").rglob("*.parquet")) == sorted(
            {Path(file).name for file in needed(again)}
        )
        shutil.rmtree(path)
    assert kills >= 15


def without_path(found: dict[str, object]) -> dict[str, object]:
    """The `checkpoints` table is meant to change: its row lies nowhere."""
    return {name: value for name, value in found.items() if name != "checkpoints"}


def needed(store: Store) -> list[str]:
    """Files of the newest versions and of what snapshots pin."""
    pinned = [(table, version) for table, versions in upkeep.pins(store).items() for version in versions]
    return [
        file
        for table, version in [*store.versions().items(), *pinned]
        for file in store.files(table, version)
    ]
