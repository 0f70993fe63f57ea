"""What was counted over all rows is counted once, until a table that it read has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dashboards import app, bias, report, search
from dashboards import thin as thinning
from dashboards.ask import KEPT, Session, ask
from dashboards.page import Mill
from storage import blocklist, takedown
from storage.kept import FEW, FOLDER, Kept
from storage.store import Store
from storage.tables import signal_table
from tests.dashboards.pages_served import serving

VALUES = {"snapshot": "snapshot-1", "checkpoint": "0123456789abcdef", "n": 5, "least": 1}


def session(store: Store) -> Session:
    versions = store.versions()
    return Session(store.connect(versions), Kept(store, versions))


def answers(store: Store) -> list[Path]:
    return sorted(store.path.joinpath(*FOLDER).rglob("*.parquet"))


def files(store: Store) -> dict[str, int]:
    """Inodes: one that was written again is another file."""
    return {one.name: one.stat().st_ino for one in answers(store)}


@pytest.mark.parametrize("name", sorted(KEPT))
def test_a_kept_answer_is_the_answer(name: str, filled: Store) -> None:
    with filled.connect() as con:
        plain = ask(con, name, bias.over(), **VALUES)
    first = ask(session(filled), name, bias.over(), **VALUES)
    kept = files(filled)
    assert any(one.startswith(f"{name}-") for one in kept)
    again = ask(session(filled), name, bias.over(), **VALUES)
    assert plain == first == again and files(filled) == kept
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
    def women() -> int:
        rows = ask(session(collected), "group_mentions", bias.over(), snapshot=None)
        return sum(row["came_in"] for row in rows)

    table = signal_table("language", "sample_id", pa.schema([("lang", pa.string())]))
    collected.declare(table)
    row = {"sample_id": ["0" * 32], "source": ["s"], "text": ["a woman at sea"]}  # in no stated language
    collected.append("samples", pa.table(row), parts=["unstated"])
    before = women()
    found = pa.table({"sample_id": ["0" * 32], "lang": ["en"]})
    collected.append(table, found, parts=["found"])
    assert women() == before + 1


def test_few_answers_to_one_question_stay_the_last_used(collected: Store) -> None:
    asked = [f"snapshot-{n}" for n in range(FEW + 3)]
    for name in asked:
        ask(session(collected), "splits", snapshot=name)
        ask(session(collected), "splits", snapshot=asked[0])
    kept = files(collected)
    assert len(kept) == FEW
    ask(session(collected), "splits", snapshot=asked[0])
    assert files(collected).keys() == kept.keys()


def test_a_torn_file_is_no_answer(collected: Store) -> None:
    truth = ask(session(collected), "freshness")
    [torn] = answers(collected)
    torn.write_bytes(torn.read_bytes()[:40])
    assert ask(session(collected), "freshness") == truth


def test_where_nothing_can_be_kept_all_is_answered(collected: Store) -> None:
    collected.path.joinpath("cache").write_text("no folder")
    assert ask(session(collected), "freshness")


def test_a_report_has_the_answers_ready(collected: Store, tmp_path: Path) -> None:
    report.write(collected, tmp_path / "report.html")
    kept = files(collected)
    with serving(Mill(collected)) as client:
        for page in app.PAGES:
            assert client.get(page.path).status_code == 200
    assert files(collected).keys() == kept.keys()
    assert kept


def test_a_takedown_empties_them_and_what_was_begun_before_it_is_not_kept(collected: Store) -> None:
    before = session(collected)
    ask(before, "distribution", snapshot=None)
    [doomed] = answers(collected)
    gone = collected.read("samples", ["sample_id"])["sample_id"][0].as_py()
    key = blocklist.key_of(collected.path, create=True)
    assert key is not None
    entry = blocklist.Entry("sample", blocklist.digest(key, "sample", gone))
    takedown.carry_out(collected, takedown.Takedown("request", "somebody", [], [entry], [gone], [], [], []))
    assert not doomed.exists()
    ask(before, "freshness")  # computed over files that are gone, or were rewritten
    assert not answers(collected)
    ask(session(collected), "freshness")
    assert len(answers(collected)) == 1


def test_a_thin_session_sees_rows_below_a_bound_through_views_too_and_keeps_nothing(filled: Store) -> None:
    db = session(filled)

    def ids(table: str) -> set[str]:
        return {row[0] for row in db.execute(f"SELECT sample_id FROM {table}").fetchall()}

    whole = {table: ids(table) for table in ("samples", "decisions", "members", "verdicts")}
    with thinning.thinned(db, filled, 0.5) as thin:
        for table, every in whole.items():
            assert ids(table) == {one for one in every if one < "7fffffff"} != every
        assert thin.kept is None
        search.prepare(thin, search.Search(fate="kept"), search.signals(filled))
        assert ids("found") <= ids("samples")
    with pytest.raises(RuntimeError), thinning.thinned(db, filled, 0.5):
        raise RuntimeError
    assert {table: ids(table) for table in whole} == whole


def test_a_table_that_is_declared_meanwhile_is_not_asked(collected: Store) -> None:
    db = session(collected)
    collected.declare(signal_table("late", "sample_id", pa.schema([("score", pa.float32())])))
    with thinning.thinned(db, collected, 0.5) as thin:
        assert thin.execute("SELECT count(*) FROM samples").fetchone()


def test_a_share_is_of_no_more_than_all_and_all_where_that_is_hardly_more() -> None:
    assert thinning.share(10, 0) == thinning.share(10, 5) == thinning.share(10, 20) == 1
    assert thinning.share(10, 40) == 0.25
