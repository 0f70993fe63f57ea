"""What SQL sees: every table, signals, the funnel that adds up, and nothing of writers at work."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from storage import catalog, parts, views
from storage.store import Store
from storage.tables import TABLES, signal_table


def decide(store: Store, stage: str, fates: dict[str, str | None]) -> None:
    table = pa.table(
        {
            "sample_id": list(fates),
            "source": ["s"] * len(fates),
            "stage": [stage] * len(fates),
            "kept": [reason is None for reason in fates.values()],
            "reason": pa.array(list(fates.values()), pa.string()),
        }
    )
    store.append("decisions", table, parts=[f"{stage}-{len(fates)}"])


@pytest.fixture
def judged(store, rows):
    """Ten rows: one undecodable, three filtered, one a duplicate, five kept."""
    ids = [f"r{n}" for n in range(10)]
    samples = {name: table for name, table in rows(ids).items() if name != "decisions"}
    parts.stage(store, "p", samples)
    parts.commit(store, ["p"])
    decide(store, "collect", {one: "truncated" if one == "r0" else None for one in ids})
    short = dict.fromkeys(["r1", "r2"], "caption_too_short") | {"r3": "aspect"}
    decide(store, "filter", {one: short.get(one) for one in ids[1:]})
    decide(store, "near_duplicates", {one: "duplicate" if one == "r4" else None for one in ids[4:]})
    return store


def test_an_empty_store_has_every_view(store):
    with store.connect() as con:
        for table in TABLES.values():
            names = con.sql(f"SELECT * FROM {table.name}").to_arrow_table().column_names
            assert names == table.schema.names
        for view in views.derived([]):
            if not view.takes:
                assert con.sql(f"SELECT * FROM {view.name}").fetchall() == []


def test_the_funnel_tells_where_rows_went(judged):
    with judged.connect() as con:
        found = con.sql("SELECT stage, came_in, kept, dropped, reasons FROM funnel").fetchall()
        fates = dict(
            con.sql("SELECT sample_id, coalesce(stage || '/' || reason, 'kept') FROM verdicts").fetchall()
        )
    assert found == [
        ("collect", 10, 9, 1, {"truncated": 1}),
        ("filter", 9, 6, 3, {"caption_too_short": 2, "aspect": 1}),
        ("near_duplicates", 6, 5, 1, {"duplicate": 1}),
    ]
    assert fates["r0"] == "collect/truncated"
    assert fates["r3"] == "filter/aspect"
    assert fates["r4"] == "near_duplicates/duplicate"
    assert [one for one, fate in sorted(fates.items()) if fate == "kept"] == [f"r{n}" for n in range(5, 10)]


def test_the_counts_add_up_and_a_lost_decision_shows(judged):
    with judged.connect() as con:
        assert con.sql("FROM funnel_check").fetchall() == [("s", 10, 5, 5, True)]
    judged.delete("decisions", ["r7"])
    with judged.connect() as con:
        assert con.sql("FROM funnel_check").fetchall() == [("s", 10, 4, 5, False)]


def test_signals_join_every_annotator_by_its_key(store, rows):
    parts.stage(store, "p", rows(["a", "b", "c"], pictures=["cat", "cat", "dog"]))
    parts.commit(store, ["p"])
    images = store.read("samples", ["sample_id", "image_id"]).to_pylist()
    cat = next(row["image_id"] for row in images if row["sample_id"] == "a")
    hashes = signal_table("perceptual_hash", "image_id", pa.schema([("flat", pa.bool_())]))
    language = signal_table("language", "sample_id", pa.schema([("lang", pa.string()), ("p", pa.float32())]))
    store.append(hashes, pa.table({"image_id": [cat], "flat": [True]}), parts=["h"])
    store.append(
        language, pa.table({"sample_id": ["a", "c"], "lang": ["en", "fr"], "p": [0.5, 0.25]}), parts=["l"]
    )
    with store.connect() as con:
        found = con.sql(
            "SELECT sample_id, perceptual_hash_flat, language_lang, language_p FROM signals ORDER BY 1"
        ).fetchall()
    assert found == [("a", True, "en", 0.5), ("b", True, None, None), ("c", None, "fr", 0.25)]


def test_a_connection_stays_where_it_was_while_a_writer_goes_on(store):
    store.append("samples", pa.table({"sample_id": ["a"]}), parts=["p"])
    with store.connect() as con:
        store.append("samples", pa.table({"sample_id": ["b"]}), parts=["q"])
        store.delete("samples", ["a"])
        assert con.sql("SELECT sample_id FROM samples").fetchall() == [("a",)]
    with store.connect({"samples": 1}) as con:
        assert con.sql("SELECT sample_id FROM samples").fetchall() == [("a",)]
    with store.connect() as con:
        assert con.sql("SELECT sample_id FROM samples").fetchall() == [("b",)]


def test_times_are_in_utc(store):
    when = pa.array([0], pa.timestamp("us", "UTC"))
    store.append("runs", pa.table({"run_id": ["r"], "recorded_at": when}), parts=["p"])
    with store.connect() as con:
        found = con.sql("SELECT runs.recorded_at::VARCHAR FROM runs").fetchall()
    assert found == [("1970-01-01 00:00:00+00",)]
    assert store.read("runs").schema.field("recorded_at").type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize("folder", ['it\'s a "store"', "a b", "a[1]", "what? *", "été 猫"])
def test_odd_names_do_no_harm(tmp_path, folder):
    store = Store.open(tmp_path / folder)
    store.append("samples", pa.table({"sample_id": ["a'; DROP VIEW samples; --"]}), parts=["p'"])
    assert store.delete("samples", ["a'; DROP VIEW samples; --"]) == 1
    store.append("samples", pa.table({"sample_id": ["b"]}), parts=["q"])
    with store.connect() as con:
        assert con.sql("SELECT sample_id FROM samples").fetchall() == [("b",)]


# catalog.duckdb


def test_the_catalog_answers_what_a_connection_does(judged):
    path = catalog.rebuild(judged)
    with duckdb.connect(path, read_only=True) as con, judged.connect() as live:
        for view in ("funnel", "funnel_check", "signals", "verdicts", "images"):
            query = f"SELECT * FROM {view} ORDER BY ALL"
            assert con.sql(query).fetchall() == live.sql(query).fetchall()


def test_the_catalog_documents_itself(judged):
    with duckdb.connect(catalog.rebuild(judged), read_only=True) as con:
        undocumented = con.sql(
            "SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL"
        ).fetchall()
        columns = dict(
            con.sql(
                "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'images'"
            ).fetchall()
        )
    assert undocumented == []
    assert columns["width"] == "Stored width. [pixels]"


def test_a_rebuild_swaps_the_catalog_under_an_open_reader(judged):
    with duckdb.connect(catalog.rebuild(judged), read_only=True) as reader:
        judged.append("samples", pa.table({"sample_id": ["new"]}), parts=["new"])
        catalog.rebuild(judged)
        assert reader.sql("SELECT count(*) FROM samples").fetchall() == [(10,)]
    with duckdb.connect(judged.path / catalog.FILE, read_only=True) as reader:
        assert reader.sql("SELECT count(*) FROM samples").fetchall() == [(11,)]
    assert [one.name for one in judged.path.iterdir() if "duckdb" in one.name] == [catalog.FILE]
