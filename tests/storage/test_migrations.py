"""A store of an older schema is brought to this one, whatever interrupts it."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from storage import migrations
from storage.errors import StoreNotFound, StoreOlder, StoreTooNew
from storage.migrations import Step
from storage.store import Store
from storage.tables import SCHEMA_VERSION, TABLES


@pytest.fixture
def old(tmp_path):
    """A store of an invented version 0: `samples` had four columns then."""
    folder = tmp_path / "old"
    (folder / "tables").mkdir(parents=True)
    (folder / "store.json").write_text(json.dumps({"schema_version": 0, "tables": []}))
    rows = pa.table({"sample_id": ["a", "b"], "source": ["s", "s"], "text": ["x", None], "part": ["p", "p"]})
    write_deltalake(folder / "tables/samples", rows, configuration={"delta.enableExpiredLogCleanup": "false"})
    return folder


def test_an_older_store_is_migrated_and_keeps_its_rows(old):
    with pytest.raises(StoreOlder, match="millrace migrate"):
        Store.open(old)
    assert migrations.migrate(old) == SCHEMA_VERSION
    store = Store.open(old)
    assert store.columns("samples") == ["sample_id", "source", "text", "part"] + [
        name for name in TABLES["samples"].schema.names if name not in ("sample_id", "source", "text", "part")
    ]
    found = {row["sample_id"]: (row["text"], row["licence"]) for row in store.read("samples").to_pylist()}
    assert found == {"a": ("x", None), "b": (None, None)}
    assert store.read("samples", version=0)["licence"].to_pylist() == [None, None]


def test_a_migrated_store_takes_new_rows_beside_the_old(old):
    migrations.migrate(old)
    store = Store.open(old)
    store.append("samples", pa.table({"sample_id": ["c"], "licence": ["MIT"], "position": [1]}), parts=["q"])
    assert store.delete("samples", ["b"]) == 1
    with store.connect() as con:
        assert con.sql("SELECT sample_id, licence, position FROM samples ORDER BY 1").fetchall() == [
            ("a", None, None),
            ("c", "MIT", 1),
        ]
    assert sorted(DeltaTable(old / "tables/samples").to_pyarrow_table()["sample_id"].to_pylist()) == [
        "a",
        "c",
    ]


def test_migrating_again_does_nothing(old):
    migrations.migrate(old)
    before = (Store.open(old).versions(), (old / "store.json").stat().st_ino)
    assert migrations.migrate(old) == SCHEMA_VERSION
    assert (Store.open(old).versions(), (old / "store.json").stat().st_ino) == before


def test_a_step_that_is_interrupted_is_finished_by_the_next_try(old):
    def dies(store, meta):
        migrations.add_columns(store, meta)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrations.migrate(old, [Step(1, "dies", dies)])
    with pytest.raises(StoreOlder):
        Store.open(old)
    assert migrations.migrate(old) == SCHEMA_VERSION
    assert Store.open(old).read("samples").num_rows == 2


def test_steps_run_in_order_and_once(old):
    done = []
    wanted = list(range(1, SCHEMA_VERSION + 1))
    steps = [Step(to, "one", lambda store, meta, to=to: done.append(to)) for to in reversed(wanted)]
    assert migrations.migrate(old, steps) == SCHEMA_VERSION
    migrations.migrate(old, steps)
    assert done == wanted


def test_no_way_is_said(old, tmp_path):
    with pytest.raises(StoreOlder, match="no step leads from it"):
        migrations.migrate(old, [])
    with pytest.raises(StoreNotFound):
        migrations.migrate(tmp_path / "none")
    (old / "store.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(StoreTooNew):
        migrations.migrate(old)


def test_there_is_a_step_to_every_version():
    assert [step.to for step in migrations.STEPS] == list(range(1, SCHEMA_VERSION + 1))
