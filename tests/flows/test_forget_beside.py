"""Whoever holds rows while something is forgotten is waited for, and nothing that he left half written outlives it."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow as pa
import pytest

from dashboards import report as page
from flows import forget, store_admin, work
from model import train as training
from model.config import TrainConfig
from pipeline.stage import Job
from storage import beginning
from storage.errors import RowsInUse
from storage.snapshot import Snapshot
from storage.store import Store

SECRET = "zebulon quirke asleep under the violet zeppelin"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """With a snapshot that was amended, and a run that began on it before."""
    store = Store.open(tmp_path / "store")
    rows = {"snapshot": ["first", "first-1"], "content_hash": ["a", "b"], "versions": ["{}"] * 2}
    rows |= {"rows": [1] * 2, "licences": ["{}"] * 2, "amended_by": ["first-1", None]}
    times = pa.array([0, 1], pa.timestamp("us", tz="UTC"))
    store.append("snapshots", pa.table({**rows, "recorded_at": times}), parts=["snapshots"])
    run = {"run_id": ["r"], "kind": ["train"], "state": ["started"], "snapshot": ["first"]}
    store.append("runs", pa.table(run), parts=["r/started"])
    return store


def test_a_run_that_trains_on_such_rows_is_told_also_if_it_began_before_the_last_takedown(
    store: Store,
) -> None:
    taken, over = Event(), Event()

    def trains() -> None:
        with store.lock("run-r"):
            taken.set()
            over.wait(30)

    thread = Thread(target=trains)
    thread.start()
    assert taken.wait(10)
    try:
        with pytest.raises(RowsInUse, match="run r is training"), forget.idle(store, ["first-1"]):
            pass
        with forget.idle(store, ["another"]):
            pass
    finally:
        over.set()
        thread.join()
    with forget.idle(store, ["first-1"]):
        pass


class Takers:
    """A takedown that is asked for in the middle of some work, and what ended first."""

    def __init__(self, store: Store) -> None:
        self.store, self.ended, self._waits = store, list[str](), Event()
        self._thread = Thread(target=self._take)

    def ask(self) -> None:
        """Returns when it waits."""
        self._thread.start()
        assert self._waits.wait(10), "it did not wait"
        self.ended.append("work")

    def _take(self) -> None:
        with beginning.alone(self.store, self._waits.set):
            self.ended.append("takedown")

    def order(self) -> list[str]:
        self._thread.join(10)
        return self.ended


@pytest.fixture
def takers(store: Store) -> Takers:
    return Takers(store)


def test_a_worker_is_waited_for_whose_flow_may_be_gone(store: Store, takers: Takers) -> None:
    def part(store: Store, job: Job) -> str:
        takers.ask()
        return job.key

    assert work.each(part, store, [Job("k")]) == ["k"]
    assert takers.order() == ["work", "takedown"]


def test_a_report_is_waited_for(store: Store, takers: Takers, monkeypatch: pytest.MonkeyPatch) -> None:
    config = store.path.parent / "millrace.toml"
    config.write_text('[store]\npath = "store"\n')

    def write(store: Store, *more: Any) -> list[Path]:
        takers.ask()
        return [store.path / "report.html"]

    monkeypatch.setattr(page, "write_all", write)
    assert store_admin.report(config).name == "report.html"
    assert takers.order() == ["work", "takedown"]


def test_a_run_is_waited_for_until_the_store_knows_it(
    store: Store, takers: Takers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it looks for its rows anew: those that it was given may be gone."""
    named = []

    class Run:
        def __init__(self, store: Store, snapshot: Snapshot, *more: Any) -> None:
            named.append(snapshot.name)
            takers.ask()
            raise training.TrainError("far enough")

    monkeypatch.setattr(training, "Run", Run)
    former = Snapshot.from_row(store, store.read("snapshots", where="snapshot = 'first'").to_pylist()[0])
    with pytest.raises(training.TrainError, match="far enough"):
        training.train(store, former, TrainConfig(steps=1), run_id="new")
    assert named == ["first-1"] and takers.order() == ["work", "takedown"]


def test_of_reports_stays_what_does_not_show_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = store.folder("reports")
    (reports / "e").mkdir()
    listed = [{"file": "00.png", "caption": SECRET.title() + "."}, {"file": "01.png", "caption": "a cat"}]
    (reports / "e/pictures.json").write_text(json.dumps(listed))
    for name in ("00.png", "01.png", "02.png", ".pictures.json.7", "notes.txt"):
        (reports / "e" / name).write_bytes(b"drawn")
    (reports / ".report.html.99").write_text(SECRET)
    (reports / "report.html").write_text(SECRET)
    forget.clear_reports(store, [SECRET], None)
    assert sorted(one.name for one in (reports / "e").iterdir()) == ["01.png", "notes.txt", "pictures.json"]
    assert json.loads((reports / "e/pictures.json").read_text()) == listed[1:]
    assert not (reports / ".report.html.99").exists()
    assert SECRET not in (reports / "report.html").read_text()

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(page, "write", broken)
    with pytest.raises(OSError, match="no room"):
        forget.clear_reports(store, [SECRET], None)
    assert not (reports / "report.html").exists(), "rather none than one that shows it"
