"""`millrace sql`: every answer whole, for people and for scripts, and nothing but questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_sql_in_json_is_a_list_of_rows(milled: Any) -> None:
    result = run("sql", "-c", milled.config, "--json", "SELECT count(*) AS n, 'ü' AS letter FROM samples")
    assert json.loads(result.stdout) == [
        {"n": milled.sql("SELECT count(*) FROM samples")[0][0], "letter": "ü"}
    ]


def test_sql_shows_blobs_times_nulls_and_markup_as_they_are(milled: Any) -> None:
    result = run(
        "sql",
        "-c",
        milled.config,
        "SELECT '[bold]x' AS text, NULL AS nothing, '\\x00ab'::BLOB AS bytes, now() AS t",
    )
    assert result.exit_code == 0, result.output
    assert "[bold]x" in result.stdout
    assert "<3 bytes>" in result.stdout
    found = run(
        "sql", "-c", milled.config, "--json", "SELECT now() AS t, 1.5 AS x, [1, 2] AS list, {'a': 1} AS map"
    )
    assert json.loads(found.stdout)[0]["list"] == [1, 2]


def test_sql_of_no_rows_is_an_empty_list(milled: Any) -> None:
    assert json.loads(run("sql", "-c", milled.config, "--json", "SELECT 1 WHERE false").stdout) == []


def test_sql_loses_no_column_of_an_equal_name(milled: Any) -> None:
    query = "SELECT 1 AS a, 2 AS a, 3 AS a, 4 AS a_1"
    found = json.loads(run("sql", "-c", milled.config, "--json", query).stdout)
    assert found == [{"a": 1, "a_2": 2, "a_3": 3, "a_1": 4}]


def test_sql_in_json_has_null_for_what_is_no_number(milled: Any) -> None:
    query = "SELECT 'inf'::DOUBLE AS a, ['nan'::FLOAT, 1] AS b, {'c': '-inf'::DOUBLE} AS d"
    said = run("sql", "-c", milled.config, "--json", query).stdout
    assert json.loads(said, parse_constant=pytest.fail) == [{"a": None, "b": [None, 1.0], "d": {"c": None}}]


@pytest.mark.parametrize("how", ["EXPLAIN", "explain analyze", "EXPLAIN (ANALYZE, FORMAT json)"])
def test_sql_explains(how: str, milled: Any) -> None:
    result = run("sql", "-c", milled.config, "--json", f"{how} SELECT count(*) FROM samples")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM sampels", "sampels"),
        ("SELECT nothing FROM samples", "nothing"),
        ("", "query"),
        ("CREATE TABLE mine AS SELECT 1", "SELECT"),
        ("EXPLAIN ANALYZE CREATE TABLE mine AS SELECT 1", "SELECT"),
        ("SELECT 1; SELECT 2", "SELECT"),
        ("FROM read_csv('/etc/passwd')", "read_csv could do more"),
        ("WITH a AS (COPY (SELECT 1) TO 'out.csv') FROM a", "COPY could do more"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'out.csv'", "SELECT"),
        ("FROM '/etc/passwd'", "/etc/passwd"),
    ],
)
def test_sql_that_cannot_be_answered(
    query: str, word: str, milled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("sql", "-c", milled.config, query)
    assert list(tmp_path.iterdir()) == []
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.startswith("error: ")
    assert word in result.stderr
    assert "Traceback" not in result.stderr
