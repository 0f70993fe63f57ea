"""`millrace lineage`: for a model that was really trained, which rows; and for a row, which models."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli import app

STEPS, EVERY = 10, 5


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["lineage", *map(str, arguments)])


def told(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def trained(milled: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The ingested gallery with two checkpoints of a run: to be read, not to be changed."""
    from flows.config import read
    from model.train import train

    mill = milled.copy(tmp_path_factory.mktemp("lineage") / "mill")
    config = read(mill.config).train.model_copy(update={"steps": STEPS, "checkpoint_every": EVERY})
    train(mill.store(), mill.snapshot(), config, run_id="few")
    return mill


def test_a_checkpoint_tells_snapshot_settings_code_and_rows(trained: Any) -> None:
    found = told("checkpoint", "latest", "-c", trained.config)
    about, snapshot = found["checkpoint"], trained.snapshot()
    assert (about["run_id"], about["step"], about["state"], about["weights"]) == (
        "few",
        STEPS,
        "finished",
        True,
    )
    assert (about["snapshot"], about["content_hash"]) == (snapshot.name, snapshot.content_hash)
    assert about["config"]["steps"] == STEPS
    assert about["code_version"]
    splits = dict(trained.sql("SELECT split, count(*) FROM snapshot_members GROUP BY 1"))
    assert {
        split: sum(row["rows"] for row in found["counts"] if row["split"] == split) for split in splits
    } == splits
    assert {row["source"] for row in found["counts"] if row["times_seen"]} <= {"folder", "tars", "urls"}


@pytest.mark.parametrize("step", [EVERY, STEPS])
def test_what_was_seen_is_what_its_steps_read(step: int, trained: Any) -> None:
    """Up to the checkpoint's own step, which is a count: the plan's first step is 0."""
    [(checkpoint,)] = trained.sql(f"SELECT checkpoint_id FROM checkpoints WHERE step = {step}")
    [(read,)] = trained.sql(
        f"SELECT count(*) FROM (SELECT DISTINCT step, slot, unnest(sample_ids) FROM batch_plan WHERE step < {step})"
    )
    counts = told("checkpoint", checkpoint[:8], "-c", trained.config)["counts"]
    assert sum(row["times_seen"] for row in counts) == read > 0


def test_every_row_as_csv(trained: Any, tmp_path: Path) -> None:
    result = run("checkpoint", "few", "--rows", "-c", trained.config)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    members = {one for (one,) in trained.sql("SELECT sample_id FROM snapshot_members")}
    assert {row["sample_id"] for row in rows} == members
    counts = told("checkpoint", "few", "-c", trained.config)["counts"]
    assert sum(int(row["times_seen"]) for row in rows) == sum(row["times_seen"] for row in counts)
    saved = run("checkpoint", "few", "-o", tmp_path / "rows.csv", "-c", trained.config)
    assert (saved.exit_code, saved.stdout) == (0, "")
    assert (tmp_path / "rows.csv").read_text() == result.stdout
    assert [one.name for one in tmp_path.iterdir()] == ["rows.csv"]
    assert len(told("checkpoint", "few", "--rows", "-c", trained.config)["rows"]) == len(members)


def test_a_checkpoint_for_people(trained: Any) -> None:
    result = run("checkpoint", "latest", "-c", trained.config)
    assert result.exit_code == 0, result.output
    shown = {line.split()[0]: line.split()[-1] for line in result.stdout.splitlines() if line.split()}
    assert shown["steps"] == str(STEPS)  # a setting that is no default
    assert "seed" not in shown
    assert trained.snapshot().content_hash in result.stdout
    assert "CC0-1.0" in result.stdout


def test_a_sample_tells_its_decisions_snapshots_steps_and_checkpoints(trained: Any) -> None:
    [(seen, run_id, step, slot)] = trained.sql(
        "SELECT sample_id, run_id, step, slot FROM trained_on ORDER BY step, slot, sample_id LIMIT 1"
    )
    found = told("sample", seen[:12], "-c", trained.config)
    assert found["sample"]["sample_id"] == seen
    assert "image" not in found["sample"] and found["sample"]["image_id"]
    assert {"stage": "filter", "outcome": "kept", "detail": None} in found["decisions"]
    assert found["snapshots"][0]["snapshot"] == trained.snapshot().name
    assert {"run_id": run_id, "step": step, "slot": slot} == found["steps"][0]
    assert [one["step"] for one in found["checkpoints"]] == [EVERY, STEPS]
    shown = run("sample", seen, "-c", trained.config).stdout
    assert run_id in shown and found["checkpoints"][0]["checkpoint_id"] in shown


def test_a_dropped_sample_was_seen_by_nobody(trained: Any) -> None:
    [(dropped, reason)] = trained.sql(
        "SELECT sample_id, reason FROM decisions WHERE NOT kept ORDER BY 1 LIMIT 1"
    )
    found = told("sample", dropped, "-c", trained.config)
    assert reason in [one["outcome"] for one in found["decisions"]]
    assert found["snapshots"] == found["steps"] == found["checkpoints"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["checkpoint", "fwe"], ["no checkpoint 'fwe'", "did you mean few"]),
        (["checkpoint", "zzzz"], ["no checkpoint 'zzzz'", "the newest is"]),
        (["checkpoint", "zzzz", "--rows"], ["no checkpoint 'zzzz'"]),
        (["sample", "zzzz"], ["no sample 'zzzz'", "millrace sql"]),
    ],
)
def test_what_is_not_there_is_an_error_with_a_hint(
    arguments: list[str], words: list[str], trained: Any
) -> None:
    result = run(*arguments, "-c", trained.config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.startswith("error: ") and "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def test_a_store_without_a_checkpoint(milled: Any) -> None:
    result = run("checkpoint", "latest", "-c", milled.config)
    assert result.exit_code == 1
    assert "millrace train" in result.stderr
