"""The `millrace` command: help with examples, JSON for scripts, and a line for every mistake of a user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.main import get_command
from typer.testing import CliRunner

from flows.cli import app

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
SCRIPTED = ("demo", "ingest", "train", "evaluate", "generate", "stats", "sql", "snapshots")
"""Commands whose answer a script would read."""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def real(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess:
    """The command as a person starts it."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=240)


def complaint(result: Result) -> str:
    """What a failed command said: one or two lines, status 1, nothing on standard output, no traceback."""
    assert result.exit_code == 1, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    lines = [line for line in result.stderr.strip().splitlines() if line]
    assert 1 <= len(lines) <= 2, result.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in result.stderr
    return result.stderr


def test_the_commands_are_those_of_the_manual() -> None:
    assert {*SCRIPTED, "up", "report", "catalog", "backup", "restore", "migrate", "init"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_of_the_command(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"millrace {name}" in result.output


def test_help_lists_every_command_with_a_sentence() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert name in result.output


@pytest.mark.parametrize("name", SCRIPTED)
def test_commands_that_answer_have_json(name: str) -> None:
    assert "--json" in run(name, "--help").output


def test_stats_in_json_hold_the_funnel(milled: Any) -> None:
    found = json.loads(run("stats", "-c", milled.config, "--json").stdout)
    collected = {row["source"]: row["came_in"] for row in found["Funnel"] if row["stage"] == "collect"}
    assert collected == dict(milled.sql("SELECT source, count(*) FROM samples GROUP BY 1"))


def test_stats_for_people_name_every_source(milled: Any) -> None:
    result = run("stats", "-c", milled.config)
    assert result.exit_code == 0
    for source in ("folder", "tars", "urls", "heldout"):
        assert source in result.stdout


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


def test_snapshots_in_json(milled: Any) -> None:
    [found] = json.loads(run("snapshots", "-c", milled.config, "--json").stdout)
    assert found["content_hash"] == milled.snapshot().content_hash


def test_a_second_ingest_by_hand_says_that_nothing_was_new(mill: Any) -> None:
    """The command in a process of its own, in the project's folder, with the configuration it finds there."""
    done = real("ingest", "--json", folder=mill.path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parts_made"] == 0


def test_the_store_is_found_from_anywhere(milled: Any, tmp_path: Path) -> None:
    done = real("sql", "-c", milled.config, "--json", "SELECT 1 AS one", folder=tmp_path)
    assert json.loads(done.stdout) == [{"one": 1}]
    assert os.listdir(tmp_path) == []


def test_a_backup_is_restored_whole(milled: Any, gallery: Any, tmp_path: Path) -> None:
    assert run("backup", tmp_path / "saved", "-c", milled.config).exit_code == 0
    other = gallery.copy(tmp_path / "other")
    assert run("restore", tmp_path / "saved", "-c", other.config).exit_code == 0
    assert other.snapshot().content_hash == milled.snapshot().content_hash
    assert other.snapshot().samples().equals(milled.snapshot().samples())


def test_init_writes_a_configuration_that_ingest_accepts(milled: Any, tmp_path: Path) -> None:
    from flows.config import read

    config = tmp_path / "millrace.toml"
    pictures = milled.path / "data/heldout"
    assert run("init", pictures, "-c", config, "--licence", "CC0-1.0", "--lang", "fr").exit_code == 0
    source = read(config).source_steps["pictures"]
    assert (source.path, source.licence, source.lang) == (str(pictures), "CC0-1.0", "fr")
    assert "exists already" in complaint(run("init", pictures, "-c", config))


def test_init_takes_a_path_with_quotes(tmp_path: Path) -> None:
    from flows.config import read

    odd = tmp_path / 'my "best" \\ pictures'
    odd.mkdir()
    assert run("init", odd, "-c", tmp_path / "millrace.toml").exit_code == 0
    assert read(tmp_path / "millrace.toml").source_steps["pictures"].path == str(odd)


# --- mistakes ---------------------------------------------------------------------------------------------

NEED_A_CONFIG = ("ingest", "train", "evaluate", "stats", "snapshots", "report", "catalog", "migrate", "up")


@pytest.mark.parametrize("name", NEED_A_CONFIG)
def test_no_configuration(name: str, tmp_path: Path) -> None:
    said = complaint(run(name, "-c", tmp_path / "none.toml"))
    assert "no configuration at" in said
    assert "none.toml" in said


@pytest.mark.parametrize("name", ["train", "evaluate", "stats", "snapshots", "report", "catalog", "migrate"])
def test_no_store(name: str, gallery: Any) -> None:
    said = complaint(run(name, "-c", gallery.config))
    assert "no store in" in said
    assert "--config" in said
    assert "--store" not in said


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "millrace.toml"
    path.write_text(text)
    return path


MISTAKES = {
    "unknown setting": ("[media]\nmax_sied = 9", ("max_sied", "max_side")),
    "unknown table": ("[midia]\nmax_side = 9", ("midia", "media")),
    "out of range": ("[run]\nworkers = 0", ("run.workers", "greater than or equal to 1")),
    "wrong type": ("[run]\nworkers = 'many'", ("run.workers", "integer")),
    "wrong choice": ("[run]\nrunner = 'ships'", ("run.runner", "threads", "processes")),
    "not TOML": ("[run\nworkers = 1", ("not valid TOML", "line 1")),
    "no such step": ('[[filters]]\nuse = "filters.beauty"', ("filters.beauty", "no such module")),
    "setting of a step": (
        '[[filters]]\nuse = "filters.aspect_ratio"\nmots = 2',
        ("filters.aspect_ratio", "mots", "most"),
    ),
    "step of another kind": ('[[filters]]\nuse = "annotators.perceptual_hash"', ("expected one Filter",)),
    "source without a name": ('[[sources]]\nuse = "sources.folder"\npath = "x"', ("name",)),
    "a name twice": (
        '[[sources]]\nuse = "sources.folder"\nname = "a"\npath = "x"\n'
        '[[sources]]\nuse = "sources.folder"\nname = "a"\npath = "y"',
        ("used twice: a",),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_the_configuration(mistake: str, tmp_path: Path) -> None:
    text, words = MISTAKES[mistake]
    said = complaint(run("ingest", "-c", written(tmp_path, text)))
    for word in words:
        assert word in said


def test_a_missing_folder_of_a_source(tmp_path: Path, prefect_api: str) -> None:
    """Found inside the flow: Prefect would show a traceback."""
    config = written(tmp_path, '[[sources]]\nuse = "sources.folder"\nname = "a"\npath = "nowhere"')
    done = real("ingest", "-c", config, "--json", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().splitlines() == [f'error: path = "{tmp_path}/nowhere": no such folder']


def test_nothing_to_ingest(tmp_path: Path, prefect_api: str) -> None:
    (tmp_path / "pictures").mkdir()
    config = written(tmp_path, '[[sources]]\nuse = "sources.folder"\nname = "a"\npath = "pictures"')
    done = real("ingest", "-c", config, folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM sampels", "sampels"),
        ("SELECT nothing FROM samples", "nothing"),
        ("", "query"),
        ("CREATE TABLE mine AS SELECT 1", "SELECT"),
        ("SELECT 1; SELECT 2", "SELECT"),
    ],
)
def test_sql_that_cannot_be_answered(query: str, word: str, milled: Any) -> None:
    result = run("sql", "-c", milled.config, query)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.startswith("error: ")
    assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_snapshot(milled: Any) -> None:
    said = complaint(run("train", "-c", milled.config, "--snapshot", "spring"))
    assert "spring" in said
    assert milled.snapshot().name in said


@pytest.mark.parametrize("arguments", [["evaluate"], ["generate", "a red circle"]])
def test_an_unknown_checkpoint(arguments: list[str], milled: Any) -> None:
    said = complaint(run(*arguments, "-c", milled.config, "--checkpoint", "abcdef"))
    assert "checkpoint" in said


def test_a_backup_into_a_folder_that_is_not_empty(milled: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert "not empty" in complaint(run("backup", tmp_path, "-c", milled.config))
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_a_restore_of_no_backup_or_onto_a_store(milled: Any, gallery: Any, tmp_path: Path) -> None:
    assert "backup" in complaint(run("restore", tmp_path, "-c", gallery.config))
    run("backup", tmp_path / "saved", "-c", milled.config)
    before = milled.store().versions()
    complaint(run("restore", tmp_path / "saved", "-c", milled.config))
    assert milled.store().versions() == before


def test_a_demo_where_something_else_lies(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.txt").write_text("mine")
    assert "data" in complaint(run("demo", "--path", tmp_path, "--size", 200))


def test_a_port_that_is_taken(gallery: Any) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = complaint(run("up", "-c", gallery.config, "--port", taken.getsockname()[1]))
    assert "--port" in said


def test_a_mistake_on_the_command_line_is_status_2() -> None:
    done = real("sql")
    assert done.returncode == 2
    assert "query" in done.stderr.lower()
    assert real("ingets").returncode == 2
