"""Writers at once, and kill -9 at random moments: nothing lost, nothing doubled, always readable.

MILLRACE_TORTURE sets the number of kills (`make torture` asks for 20).
"""

from __future__ import annotations

import os
import random
import subprocess
import time

import pytest

from storage import parts
from storage.store import Store

KILLS = int(os.environ.get("MILLRACE_TORTURE", "10"))

WRITER = """
import sys, pyarrow as pa
from storage.store import Store
path, name, commits = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Store.open(path)
for n in range(commits):
    rows = pa.table({"sample_id": [f"{name}-{n}-{i}" for i in range(10)], "text": [name] * 10})
    assert store.append("samples", rows, parts=[f"{name}-{n}"])
    store.append("splits", rows.select(["sample_id"]), parts=[f"{name}-{n}"])
    store.delete("splits", [f"{name}-{n}-0"])
"""

READER = """
import sys
from storage.store import Store
store, seen = Store.open(sys.argv[1]), 0
print("ready", flush=True)
while seen < int(sys.argv[2]):
    with store.connect() as con:
        [(now, whole)] = con.sql("SELECT count(*), count(*) % 10 = 0 FROM samples").fetchall()
        assert whole and now >= seen, (now, seen)
        con.sql("SELECT * FROM splits").fetchall()
        seen = now
print(seen)
"""

INGEST = """
import hashlib, sys, pyarrow as pa
from storage import parts
from storage.store import Store

def part(n):
    ids = [f"{n:03}-{i}" for i in range(20)]
    drawn = [hashlib.sha256(str((n + i) // 3).encode()) for i in range(20)]  # neighbours share pictures
    images = [one.hexdigest() for one in drawn]
    return {
        "samples": pa.table({"sample_id": ids, "source": ["s"] * 20, "image_id": images}),
        "images": pa.table({"image_id": images, "image": [one.digest() * 50 for one in drawn]}),
        "decisions": pa.table(
            {"sample_id": ids, "source": ["s"] * 20, "stage": ["collect"] * 20, "kept": [True] * 20}
        ),
    }

store = Store.open(sys.argv[1])
parts.commit(store, parts.waiting(store))
keys = {f"p{n}": n for n in range(int(sys.argv[2]))}
missing = store.missing("samples", list(keys))
print("ready", flush=True)
ready = []
for key in missing:
    parts.stage(store, key, part(keys[key]))
    ready.append(key)
    if len(ready) == 3:
        parts.commit(store, ready)
        ready = []
parts.commit(store, ready)
print("done", flush=True)
"""


def finish(process: subprocess.Popen) -> str:
    out, error = process.communicate(timeout=240)
    assert process.returncode == 0, error
    return out


def test_two_writers_and_a_reader_at_once(store, child):
    commits = 20
    reader = child(READER, store.path, 2 * commits * 10)
    assert reader.stdout.readline().strip() == "ready"
    writers = [child(WRITER, store.path, name, commits) for name in ("one", "two")]
    for writer in writers:
        finish(writer)
    assert finish(reader).strip() == "400"
    expected = {f"{name}-{n}-{i}" for name in ("one", "two") for n in range(commits) for i in range(10)}
    ids = store.read("samples", ["sample_id"])["sample_id"].to_pylist()
    assert len(ids) == len(expected)
    assert set(ids) == expected
    assert store.read("splits").num_rows == 2 * commits * 9


def complete(store: Store, count: int) -> None:
    """Each table holds each row of every part once."""
    assert store.missing("samples", [f"p{n}" for n in range(count)]) == []
    for table in ("samples", "decisions"):
        ids = store.read(table, ["sample_id"])["sample_id"].to_pylist()
        assert len(ids) == len(set(ids)) == 20 * count
    with store.connect() as con:
        assert con.sql("SELECT count(*) - count(DISTINCT image_id) FROM images").fetchall() == [(0,)]
        assert con.sql("FROM samples ANTI JOIN images USING (image_id)").fetchall() == []
        assert con.sql("SELECT bool_and(adds_up) FROM funnel_check").fetchall() == [(True,)]


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed(tmp_path, child):
    count, moments = 30, random.Random(7)
    calm = tmp_path / "calm"
    whole = child(INGEST, calm, count)
    whole.stdout.readline()
    begun = time.monotonic()
    finish(whole)
    span = time.monotonic() - begun
    kills, stores = 0, 0
    while kills < KILLS:
        path, stores = tmp_path / f"store{stores}", stores + 1
        while True:
            process = child(INGEST, path, count)
            process.stdout.readline()  # a kill before the work has begun would show nothing
            try:
                process.wait(timeout=moments.uniform(0, span))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
            else:  # it ended before: no kill, and the next one comes sooner
                assert process.returncode == 0
                span *= 0.95
                break
            fresh = Store.open(path)
            for table in fresh.tables():
                fresh.read(table)  # readable as the kill left it
            if moments.random() < 0.5:  # or resume without a further kill
                finish(child(INGEST, path, count))
                break
        complete(Store.open(path), count)
        assert parts.waiting(Store.open(path)) == []


@pytest.mark.slow
def test_a_killed_holder_lets_the_lock_go(store, child):
    code = """
import sys, time
from storage.store import Store
with Store.open(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(600)
"""
    holder = child(code, store.path)
    assert holder.stdout.readline().strip() == "held"
    holder.kill()
    with store.lock():
        pass
