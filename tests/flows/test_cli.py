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
from flows.printing import print_scores

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
SCRIPTED = tuple(name for name in COMMANDS if name not in ("up", "dashboard", "serve"))
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
    manual = "demo ingest fit-tokenizers train evaluate generate stats recheck sql snapshots up report catalog backup restore"
    assert {*manual.split(), "migrate", "init"} <= set(COMMANDS)


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


def test_commands_that_change_something_tell_scripts_what(mill: Any, gallery: Any, tmp_path: Path) -> None:
    def told(*arguments: object) -> Any:
        result = run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    store, saved, other = mill.path / "store", tmp_path / "saved", gallery.copy(tmp_path / "other")
    assert told("catalog", "-c", mill.config) == {"catalog": str(store / "catalog.duckdb")}
    assert told("backup", saved, "-c", mill.config) == {"backup": str(saved)}
    assert told("restore", saved, "-c", other.config) == {"store": str(other.path / "store")}
    assert told("migrate", "-c", mill.config)["schema_version"] >= 1
    config = tmp_path / "first.toml"
    assert told("init", mill.path / "data/heldout", "-c", config) == {"config": str(config)}
    page = told("report", "-c", mill.config)["report"]
    assert "exact copy" in Path(page).read_text("utf-8")  # what was planted, as in the flow's report


def test_a_full_demo_does_not_meet_the_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import demo

    seen = []
    monkeypatch.setattr(demo, "run", lambda path, **settings: seen.append(str(path)) or {})
    for arguments in ((), ("--full",), ("--full", "--path", "mine")):
        assert run("demo", *arguments).exit_code == 0
    assert seen == ["demo", "demo-full", "mine"]


def test_a_pipe_gets_a_row_in_a_line(milled: Any) -> None:
    wide = ", ".join(f"'{'x' * 60}' AS column_{n}" for n in range(8))
    lines = run("sql", "-c", milled.config, f"SELECT {wide}").stdout.splitlines()
    assert [len(line.split()) for line in lines] == [8, 8]


def test_scores_are_a_table_beside_the_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    same = {"task": "caption", "subset": "en", "n": 40, "low": 0.5, "high": 0.75}
    rows = [{**same, "metric": "exact", "value": 0.625}, {**same, "metric": "near_exact", "value": 0.125}]
    print_scores(rows, "near")
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["task", "subset", "metric", "value", "95%", "bounds", "n", "near"]
    assert line.split() == ["caption", "en", "exact", "0.625", "0.500", "to", "0.750", "40", "0.125"]


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


def test_init_refuses_what_is_no_licence_id(tmp_path: Path) -> None:
    said = complaint(run("init", tmp_path, "-c", tmp_path / "m.toml", "--licence", "CC BY"))
    assert "SPDX" in said and not (tmp_path / "m.toml").exists()


def test_init_takes_any_path_and_any_word(tmp_path: Path) -> None:
    from flows.config import read

    odd = tmp_path / 'my "best" \\ $pictures \x7f 🐦'
    odd.mkdir()
    config = tmp_path / "birds.toml"
    said = run("init", odd, "-c", config, "--lang", 'e"n', "--licence", "CC-BY-4.0")
    assert said.exit_code == 0, said.output
    source = read(config).source_steps["pictures"]
    assert (source.path, source.lang, source.licence) == (str(odd), 'e"n', "CC-BY-4.0")
    assert read(config).store.path == str(tmp_path / "stores/birds")  # two corpora, two stores


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
    "a number in quotes": (
        '[tokens.text]\nvocab_size = "1024"',
        ("tokens.text.vocab_size", 'a number is wanted, not the text "1024"', "without quotes"),
    ),
    "a share in quotes": ('[splits]\nvalidation = "0.02"', ("splits.validation", "a number is wanted")),
    "a number in quotes, of a list": (
        '[tokens.image]\nlevels = ["8", 5]',
        ("tokens.image.levels", 'not the text "8"'),
    ),
    "a number in quotes, of a step": (
        '[[filters]]\nuse = "filters.size"\nwidth = "32"',
        ("[filters.size] `width`", "a number is wanted"),
    ),
    "a number in quotes, of a source": (
        '[[sources]]\nuse = "sources.folder"\nname = "a"\npath = "x"\nsegment = {passage_tokens = "256"}',
        ("sources.0.segment.passage_tokens", "a number is wanted"),
    ),
    "yes in quotes": ('[media]\npanels = "yes"', ("media.panels", "true or false is wanted")),
    "a number for yes": ("[media]\npanels = 1", ("media.panels", "true or false is wanted, not 1")),
    "yes for a number": ("[run]\nworkers = true", ("run.workers", "a number is wanted, not true")),
    "a number of the environment": (
        '[train]\nsteps = "${STEPS}"',
        ("train.steps", "valid integer", "environment variable in paths alone"),
    ),
    "wrong choice": ("[run]\nrunner = 'ships'", ("run.runner", "threads", "processes")),
    "not TOML": ("[run\nworkers = 1", ("not valid TOML", "line 1")),
    "no such step": ('[[filters]]\nuse = "filters.beauty"', ("filters.beauty", "no such module")),
    "setting of a step": (
        '[[filters]]\nuse = "filters.aspect_ratio"\nmots = 2',
        ("filters.aspect_ratio", "mots", "most"),
    ),
    "step of another kind": ('[[filters]]\nuse = "annotators.perceptual_hash"', ("expected one Filter",)),
    "sources in one table": ('[sources]\nuse = "sources.folder"', ("sources", "[[sources]]")),
    "filters in one table": ('[filters]\nuse = "filters.size"', ("filters", "[[filters]]")),
    "sources that are a word": ('sources = "x"', ("sources", "[[sources]]")),
    "sources that are numbers": ("sources = [1]", ("sources.0",)),
    "a store that is a word": ('store = "x"', ("store",)),
    "a path that is a number": ("[store]\npath = 3", ("store.path", "string")),
    "a step without a name": ('[[filters]]\nuse = ""', ('use = ""', "no such module")),
    "a step of nowhere": ('[[filters]]\nuse = ".size"', ('use = ".size"', "no such module")),
    "a step by its path": ('[[filters]]\nuse = "../x"', ('use = "../x"', "no such module")),
    "a device that is none": ('[train]\nseconds = 1\ndevice = "gpu"', ("train.device", "cuda")),
    "memory that is none": ('[run]\nmemory_limit = "much"', ("run.memory_limit",)),
    "more drawn pictures than there can be": (
        '[[sources]]\nuse = "sources.gallery"\nname = "a"\nsize = 2_000_000',
        ("[sources.a] `size`", "less than or equal to 1000000"),
    ),
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


@pytest.mark.parametrize(
    ("code", "word"), [("import no_such_thing", "no_such_thing"), ("def", "invalid syntax")]
)
def test_a_step_of_ones_own_that_cannot_be_imported(
    code: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"mine_{word.split('_')[0].split()[0]}"
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    said = complaint(run("ingest", "-c", written(tmp_path, f'[[filters]]\nuse = "{module}"')))
    assert module in said
    assert word in said


def test_a_prefect_that_is_not_there(milled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert "PREFECT_API_URL = http://127.0.0.1:9/api" in complaint(run("ingest", "-c", milled.config))


def test_paths_of_the_command_line_that_cannot_be(milled: Any, tmp_path: Path) -> None:
    pictures, file, nowhere = milled.path / "data/heldout", tmp_path / "file", tmp_path / "no/such/dir/m.toml"
    file.write_text("mine")
    assert f"{nowhere}: No such file" in complaint(run("init", pictures, "-c", nowhere))
    assert f"{file}: Not a directory" in complaint(run("backup", file, "-c", milled.config))
    assert f"{file}: File exists" in complaint(run("demo", "--path", file, "--size", 200))
    assert file.read_text() == "mine"


@pytest.mark.parametrize("output", ["out.xyz", "out", "folder.png"])
def test_a_file_that_no_picture_can_be_written_to(
    output: str, milled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is loaded or drawn."""
    from flows import say

    monkeypatch.setattr(say, "load", lambda *_: pytest.fail("a checkpoint was loaded"))
    (tmp_path / "folder.png").mkdir()
    said = complaint(run("generate", "a red circle", "-c", milled.config, "-o", tmp_path / output))
    assert str(tmp_path / output) in said
    assert ".png, .jpg" in said


def test_a_port_that_no_machine_has(milled: Any) -> None:
    result = run("up", "-c", milled.config, "--port", 99999)
    assert result.exit_code == 2
    assert "65535" in result.stderr


def test_a_missing_folder_of_a_source(tmp_path: Path, prefect_api: str) -> None:
    """As a person sees it: a line, and nothing of Prefect."""
    config = written(tmp_path, '[[sources]]\nuse = "sources.folder"\nname = "a"\npath = "nowhere"')
    done = real("ingest", "-c", config, "--json", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().splitlines() == [
        f'error: source a: path = "{tmp_path}/nowhere": no such folder'
    ]


def test_a_mistake_that_only_reading_finds(tmp_path: Path, prefect_api: str) -> None:
    """Found inside the flow: Prefect would show a traceback."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "captions.csv").write_text("pic,caption\na.png,a bear\n")
    config = written(tmp_path, '[[sources]]\nuse = "sources.folder"\nname = "a"\npath = "pictures"')
    done = real("ingest", "-c", config, "--json", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("error: source a: captions.csv: which column holds the file?")


def test_nothing_to_ingest(tmp_path: Path, prefect_api: str) -> None:
    (tmp_path / "pictures").mkdir()
    config = written(tmp_path, '[[sources]]\nuse = "sources.folder"\nname = "a"\npath = "pictures"')
    done = real("ingest", "-c", config, folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")


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
    said = complaint(run("demo", "--path", tmp_path / "large", "--size", 2_000_000))
    assert "--size: 2,000,000 pictures: a gallery holds 1,000,000 at most" in said


def test_a_port_that_is_taken(gallery: Any) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = complaint(run("up", "-c", gallery.config, "--port", taken.getsockname()[1]))
    assert "--port" in said


def test_a_mistake_on_the_command_line_is_status_2() -> None:
    done = real("lineage", "sample")
    assert done.returncode == 2
    assert "sample" in done.stderr.lower()
    assert real("ingets").returncode == 2
