"""Two machines on one bucket without a lock between them, and processes that die over it: nothing lost, nothing twice."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from storage import commits, parts, snapshot
from storage.errors import TableMoved
from storage.store import Store

pytestmark = pytest.mark.slow

WRITER = """
import sys, pyarrow as pa
from storage.store import Store
store = Store.open(sys.argv[1], tables=sys.argv[2])
name, commits = sys.argv[3], int(sys.argv[4])
for n in range(commits):
    for part in (f"both-{n}", f"{name}-{n}"):
        store.append("splits", pa.table({"sample_id": [part], "split": ["train"]}), parts=[part])
    if n % 4 == 3:
        store.delete("splits", [f"{name}-{n}"])
"""

COMMITTER = """
import sys
from storage import parts
from storage.store import Store
store = Store.open(sys.argv[1], create=False)
for key in parts.waiting(store):
    parts.commit(store, [key])
    print(key, flush=True)
"""


@pytest.fixture
def tables(new_bucket: str) -> str:
    return f"s3://{new_bucket}/corpus"


def test_two_machines_write_one_table(tmp_path, tables, child):
    count = 8
    Store.open(tmp_path / "seen", tables=tables)
    writers = [child(WRITER, tmp_path / name, tables, name, count) for name in ("one", "two")]
    for writer in writers:
        said, wrong = writer.communicate(timeout=280)
        assert writer.returncode == 0, said + wrong
    store = Store.open(tmp_path / "seen")
    kept = [n for n in range(count) if n % 4 != 3]
    assert Counter(store.read("splits")["sample_id"].to_pylist()) == Counter(
        [f"both-{n}" for n in range(count)] + [f"{name}-{n}" for name in ("one", "two") for n in kept]
    )
    assert (
        store.missing("splits", [f"{name}-{n}" for name in ("both", "one", "two") for n in range(count)])
        == []
    )


def test_a_part_that_two_machines_commit_at_once_is_there_once(tmp_path, tables, rows):
    """Each stops before its commit until the other has got there, too."""
    machines = [Store.open(tmp_path / name, tables=tables) for name in ("one", "two")]
    machines[0].append("splits", pa.table({"sample_id": ["first"], "split": ["train"]}), parts=["first"])
    meeting, write, said = threading.Barrier(2, timeout=60), commits._attempt, []

    def together(*arguments, **more):
        meeting.wait()
        return write(*arguments, **more)

    def work(store: Store) -> None:
        table = pa.table({"sample_id": ["a"], "split": ["train"]})
        said.append(store.append("splits", table, parts=["p"]))

    commits._attempt = together
    try:
        threads = [threading.Thread(target=work, args=(store,)) for store in machines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        commits._attempt = write
    assert sorted(said) == [False, True]
    assert sorted(machines[0].read("splits")["sample_id"].to_pylist()) == ["a", "first"]


def test_what_another_machine_rewrote_is_looked_at_again(tmp_path, tables, rows):
    one, two = (Store.open(tmp_path / name, tables=tables) for name in ("one", "two"))
    table = pa.table({"sample_id": ["a", "b", "c"], "split": ["train"] * 3})
    one.append("splits", table, parts=["p"])
    at = two.seen("splits")
    one.delete("splits", ["a"])
    with pytest.raises(TableMoved):
        two.delete("splits", ["b"], at=at)
    assert two.delete("splits", ["b"]) == 1
    assert one.read("splits")["sample_id"].to_pylist() == ["c"]


@pytest.mark.parametrize("after", [0, 2])
def test_a_kill_over_a_bucket_loses_nothing(tmp_path, tables, rows, child, after):
    store = Store.open(tmp_path / "mill", tables=tables)
    plain = Store.open(tmp_path / "plain")
    keys = [f"p{n}" for n in range(4)]
    for n, key in enumerate(keys):
        for one in (store, plain):
            parts.stage(one, key, rows([f"s{n}", f"t{n}"], pictures=["same", f"x{n}"]))
    parts.commit(plain, keys)
    killed = child(COMMITTER, store.path)
    for _ in range(after):
        assert killed.stdout.readline()
    if not after:  # in its first commit, once an object is there
        while store.version("images") < 0:
            assert killed.poll() is None
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    parts.commit(store, [key for key in keys if parts.staged(store, key)])
    for table in ("samples", "images", "decisions"):
        assert store.missing(table, keys) == []
        assert snapshot.content_hash(store, table) == snapshot.content_hash(plain, table)
    assert parts.waiting(store) == [] and not Path(store.path / "tables").exists()
