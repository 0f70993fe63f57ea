"""`millrace sql` without a question: a prompt that completes; and answers as files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from typer.testing import CliRunner

from flows import prompt
from flows.cli import app
from storage.store import Store
from tests.dashboards.conftest import fill

CONFIG = '[store]\npath = "store"\n[[sources]]\nuse = "sources.folder"\nname = "folder"\npath = "pictures"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose store was filled by hand."""
    path = tmp_path_factory.mktemp("asked")
    (path / "pictures").mkdir()
    (path / "millrace.toml").write_text(CONFIG)
    fill(Store.open(path / "store"))
    return path


@pytest.fixture
def sql(folder: Path) -> Callable[..., Result]:
    def run(*words: object, typed: str | None = None) -> Result:
        line = ["sql", "-c", str(folder / "millrace.toml"), *map(str, words)]
        return CliRunner().invoke(app, line, input=typed)

    return run


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json", ".jsonl"])
def test_an_answer_becomes_a_file(suffix: str, sql: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / f"it's{suffix}"
    said = sql(
        "SELECT source, came_in, [1, 2] AS l, source AS source FROM source_quality ORDER BY 1", "-o", path
    )
    assert said.exit_code == 0, said.output
    assert said.stdout == f"wrote 3 rows to {path}\n"
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".json": pd.read_json}.get(suffix)
    frame = read(path) if read else pd.read_json(path, lines=True)
    assert list(frame.columns) == ["source", "came_in", "l", "source_1"]
    assert list(frame["came_in"]) == [7, 1, 2]
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_json_in_a_file_has_null_for_what_is_no_number(sql: Callable[..., Result], tmp_path: Path) -> None:
    assert sql("SELECT 'nan'::DOUBLE AS a", "-o", tmp_path / "a.json").exit_code == 0
    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail) == [{"a": None}]
    assert sql("SELECT 1 AS a WHERE false", "-o", tmp_path / "b.json").exit_code == 0
    assert json.loads((tmp_path / "b.json").read_text()) == []


@pytest.mark.parametrize(
    ("query", "name", "word"),
    [
        ("FROM source_quality", "a.xlsx", ".parquet"),
        ("SELECT nothing FROM samples", "a.csv", "nothing"),
        ("SELECT error(text) FROM samples", "a.csv", "red square"),
        ("FROM source_quality", "no/such/folder/a.csv", "a.csv"),
    ],
)
def test_a_file_that_cannot_be_written_leaves_nothing(
    query: str, name: str, word: str, sql: Callable[..., Result], tmp_path: Path
) -> None:
    said = sql(query, "-o", tmp_path / name)
    assert (said.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert said.stderr.startswith("error: ") and word in said.stderr and "Traceback" not in said.stderr


def test_a_question_comes_from_standard_input(sql: Callable[..., Result]) -> None:
    assert json.loads(sql("--json", typed="SELECT count(*) AS n FROM samples\n").stdout) == [{"n": 10}]


def test_a_long_answer_is_cut_for_people_and_counted(sql: Callable[..., Result]) -> None:
    said = sql("SELECT range AS place FROM range(30000)").stdout
    assert "… and 29,800 rows more" in said
    assert len(said.splitlines()) == 202


TYPING = """
import sys
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from flows import prompt
from storage.store import Store
with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
    pipe.send_text("".join(f"{line}\\r" for line in sys.argv[2:]) + "\\x04")
    prompt.prompt(Store.open(sys.argv[1], create=False))
"""


def typed(folder: Path, *lines: str) -> str:
    """What the prompt of the folder's store says to lines that each end with Enter; in a process of its own, for the prompt
    waits by select(), which knows the first 1,024 open files of a process alone."""
    line = [sys.executable, "-c", TYPING, str(folder / "store"), *lines]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=120).stdout


def test_the_prompt_answers_line_by_line(folder: Path, tmp_path: Path) -> None:
    said = typed(
        folder,
        *(
            "SELECT count(*) AS n",
            "FROM samples;",
            "SELECT nothing;",
            "DROP VIEW samples;",
            ".help leaderboard",
        ),
        *(
            "FROM languages;",
            f".save {tmp_path / 'languages.csv'}",
            "SHOW TABLES;",
            ".nonsense",
            ".help nothing",
        ),
    )
    assert "n\n10" in said.replace(" ", "")
    assert said.count("error: ") == 2 and "one SELECT" in said
    assert "wrote 2 rows" in said and (tmp_path / "languages.csv").read_text().startswith("lang,")
    assert "champion" in said and "source_quality" in said
    assert "there is no nothing" in said and ".quit" in said


def completions(folder: Path, text: str) -> list[str]:
    completer = prompt.Completing(prompt.told(Store.open(folder / "store", create=False)))
    return [one.text for one in completer.get_completions(Document(text), CompleteEvent())]


def test_the_prompt_completes_tables_columns_and_words(folder: Path) -> None:
    assert {"samples", "sample('", "sample_history('"} <= set(completions(folder, "FROM sam"))
    assert completions(folder, "SELECT * FROM source_quality WHERE undec") == ["undecodable"]
    assert completions(folder, "SELECT languages.cha") == ["characters"]
    assert "SELECT" in completions(folder, "sel")
    assert completions(folder, "DESCRIBE leader") == ["leaderboard"]
    assert completions(folder, ".he") == ["help"]
    assert completions(folder, ".help token") == ["token_budget"]


def test_whatever_is_completed_can_be_asked(folder: Path) -> None:
    store = Store.open(folder / "store", create=False)
    with store.connect(overview=True) as db:
        there = {
            name for (name,) in db.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        }
    known = prompt.told(store)
    assert there == {name for name, one in known.items() if "(" not in one.call}
