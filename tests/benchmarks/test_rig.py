"""What the benchmarks share: measured processes, corpora, workers, the table of results."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmarks.rig import corpus, peers, processes, table
from benchmarks.rig.contract import Bench, BenchmarkError, Result
from flows.config import read

RESULT = Result("rerun", 1.23456, 24.6912, "the first run", "s", 20.0, 0.01, 1.0, 1.0)
HOLD = "import time; held = b'x' * (60 << 20); time.sleep(1.0)"


def test_memory_of_child_processes_counts(tmp_path):
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}])"
    alone = processes.measured([sys.executable, "-c", HOLD], tmp_path / "log")
    below = processes.measured([sys.executable, "-c", parent], tmp_path / "log")
    assert alone.peak_mib > 60
    assert len(below.at_peak) == 2
    assert below.at_peak[0] > 60
    assert sum(below.at_peak) > sum(alone.at_peak)  # peak_mib may hold what this process had when it forked


def test_memory_that_is_held_too_shortly_to_be_sampled_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "EVERY_S", 0.5)
    flash = "import time; time.sleep(.1); b'x' * (200 << 20)"
    brief = processes.measured([sys.executable, "-c", flash], tmp_path / "log")
    assert brief.peak_mib > 200


def test_a_measured_process_that_fails_is_an_error_with_its_last_words(tmp_path):
    with pytest.raises(BenchmarkError, match="no such corpus"):
        processes.measured([sys.executable, "-c", "raise SystemExit('no such corpus')"], tmp_path / "log")


def test_the_configuration_is_the_demos_without_the_url_source(tmp_path):
    config = read(corpus.configure(tmp_path, tmp_path / "data"))
    assert [source.name for source in config.sources] == ["folder", "tars", "heldout"]
    assert all(source.model_extra["path"].startswith(str(tmp_path / "data")) for source in config.sources)
    assert config.store.path == str(tmp_path / "store")
    assert config.tokens.image.steps < 100
    assert config.tokens.image.least_psnr == 0.0
    assert config.gather_steps
    assert config.filter_steps


def test_settings_are_set_in_a_table_that_is_there_and_in_one_that_is_not():
    there = "[a]\nx = 1\n[t]\nx = 2\nsteps = 900\n[t.u]\nsteps = 3\n"
    assert tomllib.loads(corpus.overridden(there, "[t]", {"steps": "1"})) == {
        "a": {"x": 1},
        "t": {"x": 2, "steps": 1, "u": {"steps": 3}},
    }
    assert tomllib.loads(corpus.overridden("[a]\nx = 1\n", "[t]", {"steps": "1"})) == {
        "a": {"x": 1},
        "t": {"steps": 1},
    }


def test_a_gallery_has_as_many_pictures_to_read_as_were_asked_for(tmp_path):
    bench = Bench(size=200, pairs=1, work=tmp_path)
    made = corpus.gallery(bench, 200)
    in_tars = sum(
        subprocess.run(["tar", "tf", tar], capture_output=True, text=True, check=True).stdout.count(".json")
        for tar in made.tars.glob("*.tar")
    )
    found = [*made.folder.rglob("*"), *made.heldout.rglob("*")]
    assert abs(sum(file.suffix in (".png", ".jpg") for file in found) + in_tars - 200) <= 2
    assert corpus.gallery(bench, 200) == made


ECHO = """
import sys, json
print(json.dumps({"about": sys.argv[1]}), flush=True)
for n, _ in enumerate(sys.stdin):
    print(json.dumps({"seconds": n}), flush=True)
open(sys.argv[2], "w").write("done")
"""


def test_workers_take_turns_after_a_warm_up(tmp_path):
    (tmp_path / "echo.py").write_text(ECHO)
    python, script = Path(sys.executable), tmp_path / "echo.py"
    made = [peers.Worker(python, script, name, str(tmp_path / name)) for name in ("a", "b")]
    assert [worker.about["about"] for worker in made] == ["a", "b"]
    assert peers.by_turns(made, 3) == [[1, 2, 3], [1, 2, 3]]
    for worker in made:
        worker.finish()
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "done"


def test_a_worker_that_dies_is_an_error(tmp_path):
    (tmp_path / "dies.py").write_text("raise SystemExit(3)")
    with pytest.raises(BenchmarkError, match="3"):
        peers.Worker(Path(sys.executable), tmp_path / "dies.py")


def test_results_are_added_at_the_end_of_the_table(tmp_path):
    document = tmp_path / "docs" / "benchmarks.md"
    table.append([RESULT], document)
    table.append([RESULT, RESULT], document)
    lines = document.read_text().splitlines()
    assert lines.count("| name | ours | peer | ratio | limit | date | commit |") == 1
    row = "| rerun | 1.235 s | 24.69 s (the first run) | 20 |"
    assert sum(line.startswith(row) for line in lines) == 3
    assert lines[-1].count("|") == 8


def test_the_projects_document_ends_with_its_table():
    lines = table.DOCUMENT.read_text(encoding="utf-8").splitlines()
    start = lines.index(table.HEAD.splitlines()[0])
    assert all(line.startswith("|") for line in lines[start:])


def test_a_result_is_one_line_of_json_with_four_digits():
    assert json.loads(RESULT.line()) == {
        "name": "rerun",
        "ours": 1.235,
        "peer": 24.69,
        "peer_name": "the first run",
        "unit": "s",
        "ratio": 20.0,
        "limit": 0.01,
        "quality_ours": 1.0,
        "quality_peer": 1.0,
    }


def test_the_bare_loop_does_what_the_tasks_do(tmp_path: Path):
    """The same calls in the same pools; only who submits them differs."""
    from benchmarks.rig.bare import BareWorkers
    from flows.config import RunConfig
    from pipeline.stage import Job
    from storage.store import Store

    store = Store.open(tmp_path / "store")
    chunks = [[Job("a"), Job("b")], [Job("c")]]
    with BareWorkers(RunConfig(workers=2)) as workers, workers.of(3) as runner:
        made = list(runner.each(lambda opened, job: f"{opened.path.name}-{job.key}", store, chunks, "bare"))
    assert sorted(made) == [["store-a", "store-b"], ["store-c"]]
