"""What a kill before each write of a takedown leaves on the disk, and what the next call makes of it.

A takedown is carried out once, and before each of its writes the store's folder is copied: what was not written by then is not
there, as after a kill. Each copy is then completed. Run as a process of its own, since the interpreter never again stops
telling of files that are opened. Prints how many writes there were, and what was wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from storage import catalog, commits, takedown
from storage.location import SCRATCH, Folder
from storage.snapshot import Snapshot, listing
from storage.store import Store
from tests.flows.scanning import Needles, scan

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link")
OTHERS = (
    (Folder, "create"),
    (DeltaTable, "create"),
    (DeltaTable, "create_write_transaction"),
    (DeltaTable, "create_checkpoint"),
    (commits, "write_deltalake"),
)
"""Writes of Arrow and of delta-rs, of which Python does not tell."""
NO_MATTER = ("snapshots", "forgotten", "blocklist")
"""Tables with times of their own, which are told otherwise."""


class Writes:
    """Copies a store's folder before each write to it."""

    def __init__(self, store: Path) -> None:
        self.store, self.made, self.on = store, 0, False
        sys.addaudithook(self.heard)
        for owner, name in OTHERS:
            setattr(owner, name, self.before(getattr(owner, name)))

    def one(self) -> None:
        self.on = False  # a copy writes, too
        shutil.copytree(self.store, self.copy(self.made))
        self.made, self.on = self.made + 1, True

    def copy(self, number: int) -> Path:
        return self.store.with_name(f"killed-{number}")

    def heard(self, event: str, told: tuple[Any, ...]) -> None:
        if not self.on or "/.locks" in str(told[:1]):
            return
        opened = event == "open" and str(told[0]).startswith(str(self.store)) and told[2] & WRITES
        if opened or event in CHANGES:
            self.one()

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def told(*arguments: Any, **more: Any) -> Any:
            if self.on:
                self.one()
            return function(*arguments, **more)

        return told


def done(store: Store) -> None:
    for one in takedown.waiting(store):
        takedown.record(store, one, takedown.carry_out(store, one))
    takedown.sweep(store)


def told(store: Store) -> dict[str, Any]:
    """All that must be the same in the end."""
    tables = [one for one in store.tables() if one not in NO_MATTER]
    with store.connect() as db:
        rows = {one: db.sql(f'SELECT * FROM "{one}" ORDER BY ALL').fetchall() for one in tables}
    return rows | {
        "snapshots": [(row["snapshot"], row["content_hash"], row["amended_by"]) for row in listing(store)],
        "records": [
            (row["rows"], row["counts"], row["affected"], row["genuine"]) for row in takedown.records(store)
        ],
        "blocked": sorted(store.read("blocklist", ["digest"])["digest"].to_pylist()),
    }


def wrong_sizes(store: Store) -> list[str]:
    """Files of which a table's log says something else than is there."""
    found = []
    for name in store.tables():
        folder = store.path / "tables" / name
        for one in pa.table(DeltaTable(folder).get_add_actions(flatten=True)).to_pylist():
            if one["size_bytes"] != (folder / one["path"]).stat().st_size:
                found.append(f"{name}/{one['path']}")
    return found


def torn(store: Store, before: Snapshot, gone: str) -> bool:
    """Whether a snapshot reads neither as it was nor as it will be."""
    now = Snapshot.open(store, before.name)
    there = gone in now.samples(columns=["sample_id"])["sample_id"].to_pylist()
    return there != (now.content_hash == before.content_hash)


def left_behind(path: Path) -> list[str]:
    """What must not lie about any more."""
    scratch = list(path.rglob(f"{SCRATCH}*")) + list((path / takedown.JOURNAL).iterdir())
    return [str(one.relative_to(path)) for one in scratch]


def pool(path: Path, into: Path) -> None:
    """Puts each file of a store where equal ones lie once, to be scanned together."""
    into.mkdir(exist_ok=True)
    for one in path.rglob("*"):
        if one.is_file() and one.suffix != ".duckdb":
            content = one.read_bytes()
            (into / f"{hashlib.sha256(content).hexdigest()}{one.suffix}").write_bytes(content)


def main(path: Path, snapshot: str, gone: str, text: str) -> None:
    """Completes what each kill leaves, and compares it with what no kill disturbed."""
    needles, wrong = Needles(text, [], np.zeros((16, 16, 3), np.uint8)), []
    if not scan(path, needles):
        wrong.append("the text is not found before")
    writes, store = Writes(path), Store.open(path)
    before = Snapshot.open(store, snapshot)
    writes.on = True
    done(store)
    writes.on = False
    wanted, files = told(store), path.with_name("files")
    for number in range(writes.made):
        copy = writes.copy(number)
        if not list(copy.glob(".catalog*")):  # it takes half of the time
            (copy / catalog.FILE).unlink()
        again = Store.open(copy)
        if torn(again, before, gone):
            wrong.append(f"{number}: a snapshot is torn")
        done(again)
        found = told(again)
        if found != wanted:
            wrong.append(f"{number}: {[one for one in wanted if found.get(one) != wanted[one]]} differ")
        wrong += [f"{number}: {one}" for one in (*wrong_sizes(again), *left_behind(copy))]
        pool(copy, files)
        shutil.rmtree(copy)
    print(json.dumps({"writes": writes.made, "wrong": [*wrong, *scan(files, needles)]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
