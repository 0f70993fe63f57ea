"""Every question can be asked of an empty store and of a filled one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from dashboards import ask as asking
from dashboards import bias, search, sections
from dashboards.ask import ask
from storage.store import Store
from tests.dashboards.conftest import sample_id

ONE_ROW = {"newest", "totals", "duplicate_totals", "search_counts"}
"""Queries that answer with one row even about nothing."""


@pytest.fixture
def values(truth_file: Path) -> dict:
    return {
        "snapshot": "snapshot-1",
        "checkpoint": "0123456789abcdef",
        "evaluation": "evaluation-1",
        "run": "run-1",
        "truth": str(truth_file),
        "ids": ["0" * 64],
        "evaluations": ["evaluation-1"],
        "sample": sample_id("folder", "g000001.png"),
        "words": "a red square",
        "task": "",
        "which": "",
        "order": "highest",
        "skip": 0,
        "n": 5,
        "least": 1,
    }


def prepare(db: duckdb.DuckDBPyConnection, store: Store) -> None:
    """The views that some questions are asked over."""
    for name, select in bias.over().items():
        db.execute(f"CREATE TEMP TABLE {name} AS {select}")
    search.prepare(db, search.Search(signal="width"), search.signals(store))


def test_there_are_questions() -> None:
    assert {"newest", "sum_check", "kept_pictures", "scores", "lineage"} <= set(asking.names())


def test_an_unknown_question_names_the_known_ones() -> None:
    with pytest.raises(asking.UnknownQuery, match=r"no query 'nonsense'.*newest"):
        asking.text("nonsense")


@pytest.mark.parametrize("name", asking.names())
def test_a_query_begins_with_its_one_question(name: str) -> None:
    assert asking.text(name).startswith("-- ")
    assert "?" in asking.question(name)
    assert ";" not in asking.text(name)


@pytest.fixture(scope="module")
def empty_db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    store = Store.open(tmp_path_factory.mktemp("nothing") / "store")
    with store.connect() as db:
        prepare(db, store)
        yield db


@pytest.fixture(scope="module")
def filled_dbs(filled: Store) -> Iterator[list[duckdb.DuckDBPyConnection]]:
    """With one thread, and with four."""
    with filled.connect(threads=1) as one, filled.connect(threads=4) as four:
        for db in (one, four):
            prepare(db, filled)
        yield [one, four]


@pytest.mark.parametrize("name", asking.names())
@pytest.mark.parametrize("snapshot", ["snapshot-1", None])
def test_an_empty_store_answers(
    name: str, snapshot: str | None, empty_db: duckdb.DuckDBPyConnection, values: dict
) -> None:
    rows = ask(empty_db, name, **{**values, "snapshot": snapshot})
    if name == "planted_rows":  # as many as were planted, none of which came in
        assert rows and not any(row["came_in"] for row in rows)
    else:
        assert len(rows) == (1 if name in ONE_ROW else 0)


@pytest.mark.parametrize("name", asking.names())
def test_a_filled_store_answers_the_same_on_any_number_of_threads(
    name: str, filled_dbs: list[duckdb.DuckDBPyConnection], values: dict
) -> None:
    ids = filled_dbs[0].execute("SELECT image_id FROM images UNION SELECT sample_id FROM samples").fetchall()
    values["ids"] = [row[0] for row in ids]
    one, four = (ask(db, name, **values) for db in filled_dbs)
    assert one
    assert one == four


def test_what_came_in_is_what_was_kept_and_dropped(filled: Store) -> None:
    with filled.connect() as db:
        checks = {row["source"]: row for row in ask(db, "sum_check")}
        fates = ask(db, "fates_by_source")
    assert (checks["folder"]["came_in"], checks["folder"]["kept"], checks["folder"]["dropped"]) == (7, 4, 3)
    assert all(row["adds_up"] for row in checks.values())
    assert sum(row["rows"] for row in fates) == sum(row["came_in"] for row in checks.values()) == 10


def test_without_a_snapshot_the_kept_rows_are_shown(filled: Store) -> None:
    with filled.connect() as db:
        pinned = ask(db, "splits", snapshot="snapshot-1")
        kept = ask(db, "splits", snapshot=None)
    assert sum(row["rows"] for row in pinned) == 6
    assert sum(row["rows"] for row in kept) == 7  # the held-out row is kept, and in no snapshot


def test_a_curve_is_thinned_and_says_how_many_points_were_not_finite(filled: Store) -> None:
    with filled.connect() as db:
        rows = ask(db, "training_curves", run="run-1")
    norms = [row for row in rows if row["name"] == "gradient_norm"]
    assert 200 <= len(norms) <= 240
    assert sum(row["not_finite"] for row in norms) == 1
    assert all(row["value"] == 1.0 for row in norms)


def test_lineage_counts_the_rows_in_the_batches_until_the_checkpoint(filled: Store) -> None:
    with filled.connect() as db:
        rows = ask(db, "rows_trained_on", checkpoint="0123456789abcdef")
    assert sum(row["rows"] for row in rows) == 4
    assert {row["licence"]: row["seen"] for row in rows}["CC0-1.0"] == 2


def test_single_tasks_stand_beside_their_baselines_and_no_baseline_leads(empty: Store) -> None:
    scores = {
        ("retrieval", "image_of_text@1"): 0.2,
        ("retrieval", "chance_image_of_text@1"): 0.05,
        ("title", "exact"): 0.5,
        ("title", "first_sentence_exact"): 0.0,
    }
    rows = [
        {
            "evaluation_id": f"task-{task}-x",
            "checkpoint_id": "c",
            "snapshot": "s",
            "task": task,
            "metric": metric,
            "subset": "all",
            "value": value,
            "low": value,
            "high": value,
            "n": 9,
        }
        for (task, metric), value in scores.items()
    ]
    empty.append("evaluations", pa.Table.from_pylist(rows), parts=["one"])
    with empty.connect(overview=True) as db:
        told = sections.scores(db, "c")
        board = db.sql("SELECT task, metric, value FROM leaderboard ORDER BY task").fetchall()
    assert [
        (one["task"], one["metric"], one["which"], one["baseline"]["value"]) for one in told["single"]
    ] == [
        ("retrieval", "image_of_text@1", "chance", 0.05),
        ("title", "exact", "first_sentence", 0.0),
    ]
    assert board == [("retrieval", "image_of_text@1", 0.2), ("title", "exact", 0.5)]
