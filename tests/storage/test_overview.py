"""What people ask of a store: every view is documented, has the columns that it says, and counts right."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from storage import catalog, snapshot, views
from storage.store import Store
from tests.dashboards.conftest import CHECKPOINT, GREEN, PALE_RED, RED, SNAPSHOT, digest, fill, sample_id


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return fill(Store.open(tmp_path_factory.mktemp("overview") / "store"))


@pytest.fixture(scope="module")
def db(filled: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    with filled.connect(overview=True) as con:
        yield con


def rows(db: duckdb.DuckDBPyConnection, query: str) -> list[dict]:
    return db.sql(query).to_arrow_table().to_pylist()


def every(store: Store) -> list[views.View]:
    return [*views.derived(store.declared()), *views.OVERVIEW]


def asked(view: views.View) -> str:
    return (
        f"FROM {view.name}({', '.join(repr(one) for one in view.takes)})"
        if view.takes
        else f"FROM {view.name}"
    )


def test_every_view_has_the_columns_that_it_documents(filled: Store, db: duckdb.DuckDBPyConnection) -> None:
    for view in every(filled):
        assert db.sql(asked(view)).columns == list(view.columns), view.name
        assert view.doc.endswith(".") and all(view.columns.values()), view.name


def test_an_empty_store_answers_with_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    with store.connect(overview=True) as con:
        assert {view.name: con.sql(asked(view)).fetchall() for view in every(store)} == {
            view.name: [] for view in every(store)
        }


def test_source_quality_counts_what_the_funnel_does(db: duckdb.DuckDBPyConnection) -> None:
    found = {row["source"]: row for row in rows(db, "FROM source_quality")}
    folder = found["folder"]
    assert (
        folder["came_in"],
        folder["kept"],
        folder["dropped"],
        folder["undecodable"],
        folder["copies"],
    ) == (7, 4, 3, 1, 1)
    assert folder["kept_share"] == pytest.approx(4 / 7)
    assert (found["tars"]["dropped"], found["tars"]["main_reason"]) == (0, None)
    check = {row["source"]: row for row in rows(db, "FROM funnel_check")}
    for source, row in found.items():
        assert {name: row[name] for name in ("came_in", "kept", "dropped")} == {
            name: check[source][name] for name in ("came_in", "kept", "dropped")
        }


def test_fetch_health_takes_the_last_attempt_of_each_url(db: duckdb.DuckDBPyConnection) -> None:
    found = {row["host"]: row for row in rows(db, "FROM fetch_health")}
    assert (found["a.test"]["urls"], found["a.test"]["requests"], found["a.test"]["success"]) == (1, 2, 1.0)
    assert found["a.test"]["main_error"] is None
    assert found["b.test"]["main_error"] == "http_404"


def test_duplicates_are_groups_of_more_than_one(db: duckdb.DuckDBPyConnection) -> None:
    (group,) = rows(db, "FROM duplicates")
    assert group["image_ids"] == [digest(RED), digest(PALE_RED)]
    assert (group["pictures"], group["samples"], group["kept"], group["sources"]) == (2, 3, 2, ["folder"])


def test_languages_share_what_is_kept(db: duckdb.DuckDBPyConnection) -> None:
    found = {row["lang"]: row for row in rows(db, "FROM languages")}
    assert (found["en"]["came_in"], found["en"]["kept"], found["de"]["kept"]) == (8, 5, 2)
    assert sum(row["share"] for row in found.values()) == pytest.approx(1)
    assert dict(found["en"]["tasks"]) == {"caption": 7, "vqa": 1}


def test_the_token_budget_counts_a_picture_once_a_language(ingest: Callable[..., None], store: Store) -> None:
    ingest("p", ["a", "b"], pictures=["cat", "cat"])
    made = snapshot.create(store, "first", text_tokenizer="tt", image_tokenizer="it")
    with store.connect(overview=True) as con:
        (row,) = rows(con, "FROM token_budget")
    assert (row["snapshot"], row["split"], row["samples"], row["pictures"]) == (made.name, "train", 2, 1)
    assert (row["text_tokens"], row["image_tokens"], row["tokens"]) == (4, 2, 6)


def test_a_diff_tells_what_only_one_snapshot_holds(ingest: Callable[..., None], store: Store) -> None:
    ingest("p", ["a", "b"])
    snapshot.create(store, "first")
    ingest("q", ["c"], source="t")
    snapshot.create(store, "second")
    with store.connect(overview=True) as con:
        found = rows(con, "FROM snapshot_diff('first', 'second')")
        back = rows(con, "FROM snapshot_diff('second', 'first') WHERE source = 't'")
        history = rows(con, "FROM sample('a')")
    assert [(row["source"], row["in_both"], row["only_a"], row["only_b"]) for row in found] == [
        ("t", 0, 0, 1),
        ("s", 2, 0, 0),
    ]
    assert (back[0]["only_a"], back[0]["only_b"]) == (1, 0)
    assert history[0]["snapshots"] == ["first", "second"]


def test_a_curve_takes_the_last_value_of_a_step(db: duckdb.DuckDBPyConnection) -> None:
    found = rows(db, "FROM run_curve('run-1') WHERE name = 'loss_text' ORDER BY step")
    assert len(found) == 1000 and found[4]["value"] == pytest.approx(1.0)
    assert rows(db, "FROM run_curve('no such run')") == []


def test_the_leaderboard_goes_by_exact_scores_over_all(db: duckdb.DuckDBPyConnection) -> None:
    best, *_ = rows(db, "FROM leaderboard")
    assert (best["task"], best["metric"], best["value"], best["place"]) == ("caption", "exact", 0.75, 1)
    assert (best["checkpoint_id"], best["snapshot"], best["champion"]) == (CHECKPOINT, SNAPSHOT, True)


def test_bias_by_group_counts_texts_that_speak_of_it(db: duckdb.DuckDBPyConnection) -> None:
    (women,) = rows(db, "FROM bias_by_group")  # "sehr große Frau"
    assert (women["kind"], women["group_name"], women["texts"], women["kept"], women["dropped"]) == (
        "gender",
        "women",
        1,
        1,
        0,
    )
    assert women["drop_rate"] == 0 and women["rest_drop_rate"] > 0


def test_a_sample_is_told_in_one_row(db: duckdb.DuckDBPyConnection) -> None:
    first = sample_id("folder", "g000001.png")
    (row,) = rows(db, f"FROM sample('{first}')")
    assert (row["text"], row["width"], row["kept"], row["split"]) == ("a red square", 40, True, "train")
    assert (row["group_id"], row["steps"]) == (digest(RED), 1)
    (dropped,) = rows(db, f"FROM sample('{sample_id('folder', 'g000005.png')}')")
    assert (dropped["kept"], dropped["dropped_by"], dropped["reason"]) == (False, "filter", "contact_details")
    assert dropped["image_id"] == digest(GREEN)


# The catalog


def test_the_catalog_documents_every_view_column_and_macro(filled: Store) -> None:
    with duckdb.connect(catalog.rebuild(filled), read_only=True) as con:
        silent = con.sql(
            """
            SELECT view_name AS name FROM duckdb_views() WHERE NOT internal AND comment IS NULL
            UNION ALL SELECT table_name || '.' || column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL
            UNION ALL SELECT function_name FROM duckdb_functions() WHERE NOT internal AND comment IS NULL
            """
        ).fetchall()
        macros = {
            name
            for (name,) in con.sql(
                "SELECT function_name FROM duckdb_functions() WHERE NOT internal"
            ).fetchall()
        }
    assert silent == []
    assert macros == {view.name for view in every(filled) if view.takes}


def test_an_older_duckdb_opens_the_catalog(filled: Store) -> None:
    """Command lines and drivers lag behind: from storage version 65 on, DuckDB 1.0 to 1.1 refuse."""
    assert int.from_bytes(catalog.rebuild(filled).read_bytes()[12:20], "little") == 64


def test_the_command_line_of_duckdb_reads_the_catalog(filled: Store) -> None:
    command = Path(sys.executable).with_name("duckdb")
    if not command.exists():
        pytest.skip("duckdb-cli is not installed")
    query = "SELECT sum(came_in) FROM source_quality; SELECT count(*) FROM run_curve('run-1')"
    line = [command, "-readonly", "-csv", "-noheader", catalog.rebuild(filled), "-c", query]
    ran = subprocess.run(line, capture_output=True, text=True)
    assert (ran.stderr, ran.stdout.split()) == ("", ["10", "4000"])


def test_a_catalog_that_is_there_is_kept_up_and_none_is_made(tmp_path: Path) -> None:
    store = fill(Store.open(tmp_path / "store"))
    catalog.refresh(store)
    assert not (store.path / catalog.FILE).exists()
    first = catalog.rebuild(store).stat().st_ino
    store.append("samples", pa.table({"sample_id": ["new"]}), parts=["new"])
    catalog.refresh(store)
    assert (store.path / catalog.FILE).stat().st_ino != first
    with duckdb.connect(store.path / catalog.FILE, read_only=True) as con:
        assert con.sql("SELECT count(*) FROM samples").fetchall() == [(11,)]


def test_pandas_and_polars_read_the_catalog(filled: Store) -> None:
    with duckdb.connect(catalog.rebuild(filled), read_only=True) as con:
        frame, other = con.sql("FROM source_quality").df(), con.sql("FROM source_quality").pl()
    assert isinstance(frame, pd.DataFrame) and isinstance(other, pl.DataFrame)
    assert frame["came_in"].sum() == other["came_in"].sum() == 10


def test_the_catalog_answers_what_a_connection_does(filled: Store, db: duckdb.DuckDBPyConnection) -> None:
    with duckdb.connect(catalog.rebuild(filled), read_only=True) as con:
        for view in every(filled):
            assert con.sql(asked(view)).fetchall() == db.sql(asked(view)).fetchall(), view.name
