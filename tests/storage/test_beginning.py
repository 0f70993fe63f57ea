"""A first attempt that fails before anything came in leaves no store; any other leaves all that it had."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from storage import beginning, parts
from storage.beginning import begun
from storage.store import Store


class Mistake(Exception):
    """What went wrong."""


ROW = pa.table({"sample_id": ["a"]})
CURSOR = pa.table({"source": ["s"], "value": ["nothing yet"]})


def failed(path: Path, *tables: str, staged: bool = False) -> None:
    with pytest.raises(Mistake), begun(path) as store:
        parts.commit(store, parts.waiting(store))  # as an ingest does at once
        for table in tables:
            store.append(table, {"samples": ROW, "cursors": CURSOR}[table], parts=["p"])
        if staged:
            parts.stage(store, "p", {"samples": ROW})
        raise Mistake


def test_nothing_came_in_and_nothing_is_left(tmp_path: Path) -> None:
    failed(tmp_path / "stores" / "one")
    assert os.listdir(tmp_path / "stores") == []


def test_that_a_source_was_looked_at_is_nothing_that_came_in(tmp_path: Path) -> None:
    failed(tmp_path / "store", "cursors")
    assert os.listdir(tmp_path) == []


def test_what_came_in_stays(tmp_path: Path) -> None:
    failed(tmp_path / "store", "cursors", "samples")
    assert Store.open(tmp_path / "store", create=False).read("samples").num_rows == 1


def test_what_is_only_staged_stays_too(tmp_path: Path) -> None:
    failed(tmp_path / "store", staged=True)
    with begun(tmp_path / "store") as store:
        assert parts.commit(store, parts.waiting(store)) == 1


def test_what_was_there_before_is_not_taken_away(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    failed(tmp_path / "folder")
    assert (tmp_path / "folder").is_dir()
    with begun(tmp_path / "store"):
        pass
    failed(tmp_path / "store")
    assert Store.open(tmp_path / "store", create=False).tables() == []


def test_a_store_that_somebody_else_has_begun_with_is_left_to_them(tmp_path: Path) -> None:
    with pytest.raises(Mistake), begun(tmp_path / "store"):
        other = begun(tmp_path / "store")
        theirs = other.__enter__()
        raise Mistake
    theirs.append("samples", ROW, parts=["p"])
    other.__exit__(None, None, None)
    assert Store.open(tmp_path / "store", create=False).read("samples").num_rows == 1


def test_who_comes_while_a_store_is_taken_away_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def late() -> None:
        with begun(tmp_path / "store") as store:
            store.append("samples", ROW, parts=["p"])
            found.append(store.read("samples").num_rows)

    comer, remove = threading.Thread(target=late), beginning._remove

    def slowly(folder: Path) -> None:
        comer.start()
        time.sleep(0.3)  # it has opened the store that goes, and waits
        assert comer.is_alive() and not found
        remove(folder)

    monkeypatch.setattr(beginning, "_remove", slowly)
    failed(tmp_path / "store")
    comer.join(30)
    assert found == [1]
    assert Store.open(tmp_path / "store", create=False).read("samples").num_rows == 1
    assert os.listdir(tmp_path) == ["store"]
