"""An ingest that is disturbed from outside: whoever shares its store, disk or database, it ends in the same snapshot."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage.snapshot import content_hash
from tests.flows.databases import Postgres
from tests.flows.serving import Up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OUTAGE_S = 60.0
TABLES = ("images", "samples", "decisions", "splits", "text_tokens", "image_tokens")


def same(mill: Any, milled: Any) -> None:
    """Nothing is lost and nothing doubled against an ingest in peace."""
    assert mill.snapshot().content_hash == milled.snapshot().content_hash
    made, wanted = mill.store(), milled.store()
    for table in TABLES:
        assert content_hash(made, table) == content_hash(wanted, table), table
    assert mill.sql("SELECT count(*) FROM funnel_check WHERE NOT adds_up") == [(0,)]
    assert os.listdir(made.folder("staging")) == []


def test_two_ingests_of_one_store_at_once_bring_every_row_in_once(
    fresh: Any, milled: Any, command: Callable[..., Any]
) -> None:
    both = [command(fresh, "ingest", "--json") for _ in range(2)]
    for one in both:
        one.wait()
    same(fresh, milled)
    assert len(fresh.sql("FROM snapshots")) == 1


def test_a_disk_that_is_full_loses_nothing_and_the_next_run_completes(
    fresh: Any, milled: Any, process: Callable[..., Any], command: Callable[..., Any]
) -> None:
    """A limit on the size of a file is a full disk to whoever writes; half of the largest file is too little."""
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not here: `apt-get install util-linux`")
    largest = max(file.stat().st_size for file in (milled.path / "store/tables").rglob("*.parquet"))
    limited = ("prlimit", f"--fsize={largest // 2}", sys.executable, "-m", "flows.cli")
    full = process(fresh, *limited, "ingest")
    assert full.process.wait(240) == 1, full.said()
    assert "no room left on the device" in full.said()
    assert "Traceback" not in full.said()
    came_in = fresh.sql("SELECT count(*) FROM samples") if (fresh.path / "store").exists() else [(0,)]
    assert came_in < milled.sql("SELECT count(*) FROM samples")
    command(fresh, "ingest").wait()
    same(fresh, milled)


def test_a_database_that_is_gone_for_a_while_holds_the_flow_up_and_nothing_more(
    fresh: Any,
    milled: Any,
    postgres: Postgres,
    command: Callable[..., Any],
    up: Callable[[Any], Up],
    prefect_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody else has locked Prefect's SQLite, and its Postgres is down: one minute for both, with an ingest on each."""
    other = fresh.copy(tmp_path / "other")
    other.change("[fetch]", f'[prefect]\ndatabase = "{postgres.url}"\n[fetch]')
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    serving = up(other)
    served = serving.start("ingest")
    serving.begun(lambda: serving.state(served) != "SCHEDULED")
    alone = command(fresh, "ingest", "--json")
    for mill in (other, fresh):
        serving.begun(lambda mill=mill: (mill.path / "store/store.json").exists() or not alone.alive())
    assert serving.state(served) == "RUNNING"
    with closing(sqlite3.connect(prefect_home / "prefect.db", timeout=60, isolation_level=None)) as held:
        held.execute("BEGIN EXCLUSIVE")
        postgres.stop()
        time.sleep(OUTAGE_S)  # the outage itself
        assert alone.alive(), alone.said()
        postgres.start()
        held.execute("ROLLBACK")
    alone.wait()
    same(fresh, milled)
    assert serving.finished(served) == "COMPLETED", serving.command.said()
    same(other, milled)
    tasks = {"flow_runs": {"id": {"any_": [served]}}}
    assert serving.wait_until(
        lambda: (
            {one["state_type"] for one in serving.ask("POST", "/task_runs/filter", tasks)} == {"COMPLETED"}
        ),
        90,
    )
    before = other.store().versions()
    assert serving.finished(serving.start("ingest")) == "COMPLETED"
    assert other.store().versions() == before
