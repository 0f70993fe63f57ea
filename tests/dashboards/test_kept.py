"""What was counted over all rows is counted once, until a table that it read has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dashboards import bias, report, search
from dashboards import thin as thinning
from dashboards.ask import KEPT, Session, ask, keep, parameters
from dashboards.thin import thin
from storage.kept import FOLDER, Kept
from storage.store import Store
from storage.tables import signal_table

VALUES = {"snapshot": "snapshot-1", "checkpoint": "0123456789abcdef", "n": 5, "least": 1}


def session(store: Store) -> Session:
    versions = store.versions()
    return Session(store.connect(versions), Kept(store, versions))


def files(store: Store) -> dict[str, int]:
    return {one.name: one.stat().st_mtime_ns for one in store.path.joinpath(*FOLDER).glob("*.parquet")}


@pytest.mark.parametrize("name", sorted(KEPT))
def test_a_kept_answer_is_the_answer(name: str, filled: Store) -> None:
    with filled.connect() as con:
        plain = ask(con, name, bias.over(), **VALUES)
    first = ask(session(filled), name, bias.over(), **VALUES)
    again = ask(session(filled), name, bias.over(), **VALUES)
    assert plain == first == again
    assert [[type(v) for v in row.values()] for row in plain] == [
        [type(v) for v in row.values()] for row in again
    ]


def test_it_is_counted_anew_when_a_table_that_it_read_has_changed_and_only_then(collected: Store) -> None:
    def rows() -> list[dict[str, Any]]:
        return ask(session(collected), "search_values")

    before = rows()
    kept = files(collected)
    assert rows() == before and files(collected) == kept
    collected.append(
        "metrics", pa.table({"run_id": ["r"], "step": [1], "name": ["loss"], "value": [1.0]}), parts=["m"]
    )
    assert rows() == before and files(collected) == kept
    collected.append("samples", pa.table({"sample_id": ["0" * 32], "source": ["another"]}), parts=["new"])
    after = rows()
    assert "another" in {row["value"] for row in after} - {row["value"] for row in before}


def test_annotations_that_a_temporary_table_reads_count_too(collected: Store) -> None:
    table = signal_table("language", "sample_id", pa.schema([("lang", pa.string())]))
    collected.declare(table)
    before = ask(session(collected), "group_mentions", bias.over(), snapshot=None)
    ids = collected.read("samples", ["sample_id"])["sample_id"]
    collected.append(table, pa.table({"sample_id": ids, "lang": ["en"] * len(ids)}), parts=["found"])
    db = session(collected)
    assert db.kept
    assert "language" in db.kept.reads("SELECT * FROM signals")
    with collected.connect() as con:
        truth = ask(con, "group_mentions", bias.over(), snapshot=None)
    assert ask(db, "group_mentions", bias.over(), snapshot=None) == truth
    assert len(before) == len(truth)


def test_few_answers_to_one_question_stay(collected: Store) -> None:
    for n in range(9):
        ask(session(collected), "totals", snapshot=f"snapshot-{n}")
    assert len(files(collected)) <= 2 * 4  # the totals', and what they ask


def test_a_broken_file_is_no_answer(collected: Store) -> None:
    truth = ask(session(collected), "freshness")
    for one in collected.path.joinpath(*FOLDER).glob("*.parquet"):
        one.write_bytes(one.read_bytes()[:40])
    assert ask(session(collected), "freshness") == truth


def test_a_report_has_the_answers_ready(collected: Store, tmp_path: Path) -> None:
    report.write(collected, tmp_path / "report.html")
    kept = files(collected)
    keep(session(collected), bias.over(), snapshot=None)
    assert files(collected) == kept
    ready = {name for name in KEPT if parameters(name) <= {"snapshot"}}
    assert {name.rpartition("-")[0] for name in kept} >= ready


def test_a_thin_session_sees_rows_below_a_bound_and_all_again(filled: Store) -> None:
    db = session(filled)

    def ids(table: str) -> set[str]:
        return {row[0] for row in db.execute(f"SELECT sample_id FROM {table}").fetchall()}

    whole = {table: ids(table) for table in ("samples", "decisions")}
    thin(db, filled, 0.5)
    for table, every in whole.items():
        assert ids(table) == {one for one in every if one < "7fffffff"}
    search.prepare(db, search.Search(fate="kept"), search.signals(filled))
    assert ids("found") <= ids("samples")
    thin(db, filled, thinning.WHOLE)
    assert {table: ids(table) for table in whole} == whole


def test_a_share_is_of_no_more_than_all_and_all_where_that_is_hardly_more() -> None:
    assert thinning.share(10, 0) == thinning.share(10, 5) == thinning.share(10, 20) == 1
    assert thinning.share(10, 40) == 0.25
