"""`millrace maintain` on a store that flows really filled: what it keeps, what it says, and whom it does not disturb."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli import app
from flows.config import ConfigError, parse, read
from storage import champions, lineage, parts
from storage.snapshot import Snapshot, content_hash

STEPS, EVERY = 20, 4


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def maintained(mill: Any) -> dict[str, Any]:
    result = run("maintain", "-c", mill.config, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def trained(milled: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The ingested gallery with five checkpoints of a run and one of another: to be read, not to be changed."""
    from model.train import train

    mill = milled.copy(tmp_path_factory.mktemp("maintain") / "mill")
    config = read(mill.config).train
    for name, settings in (("many", {"steps": STEPS, "checkpoint_every": EVERY}), ("one", {"steps": 2})):
        asked = config.model_copy(update={**settings, "keep_checkpoints": 9})
        train(mill.store(), mill.snapshot(), asked, run_id=name)
    return mill


@pytest.fixture
def mine(trained: Any, tmp_path: Path) -> Any:
    """A copy of it to change."""
    return trained.copy(tmp_path / "mill")


def ids(mill: Any) -> dict[int, str]:
    """Step to checkpoint of the run with many."""
    return dict(mill.sql("SELECT step, checkpoint_id FROM checkpoints WHERE run_id = 'many'"))


def left(mill: Any, name: str = "many") -> list[int]:
    return sorted(int(one.name) for one in (mill.path / "store/checkpoints" / name).iterdir() if one.is_dir())


def hashes(mill: Any) -> dict[str, str]:
    store = mill.store()
    tables = [table for table in store.tables() if table != "checkpoints"]
    return {table: content_hash(store, table) for table in tables} | {
        "snapshot": mill.snapshot().content_hash
    }


def test_it_says_what_it_did_and_the_second_time_does_nothing(mine: Any) -> None:
    before, samples = hashes(mine), mine.snapshot().samples()
    done = maintained(mine)
    tables = {one["table"]: (one["files_before"], one["files_after"]) for one in done["tables"]}
    assert tables["samples"][0] > tables["samples"][1] == len(mine.store().files("samples"))
    assert [(one["run_id"], one["step"]) for one in done["checkpoints"]] == [
        ("many", 4),
        ("many", 8),
        ("many", 12),
    ]
    assert done["bytes_freed"] == sum(one["bytes_freed"] for one in done["checkpoints"]) > 0
    assert (left(mine), left(mine, "one")) == ([16, 20], [2])
    assert hashes(mine) == before
    assert mine.snapshot().samples().equals(samples)
    versions = mine.store().versions()
    again = maintained(mine)
    assert (again["bytes_freed"], again["checkpoints"], again["pictures_dropped"]) == (0, [], 0)
    assert all(
        one["files_before"] == one["files_after"] and not one["files_removed"] for one in again["tables"]
    )
    assert mine.store().versions() == versions


def test_it_tells_people_and_the_page_of_prefect(mine: Any, prefect_api: str) -> None:
    import httpx

    result = run("maintain", "-c", mine.config)
    assert result.exit_code == 0, result.output
    lines = {
        " ".join(line.split()[:2]): line.split()[2:] for line in result.stdout.splitlines() if line.split()
    }
    before, after = map(int, lines["table samples"][:2])
    assert before > after >= 1
    assert "of run many at step 4" in result.stdout
    found = httpx.post(
        f"{prefect_api}/artifacts/filter", json={"artifacts": {"key": {"any_": ["maintain"]}}}
    ).json()
    newest = max(found, key=lambda one: one["created"])
    assert "3 checkpoints pruned" in newest["description"]
    assert "checkpoint" in newest["data"]


def test_evaluated_and_exported_checkpoints_stay(mine: Any, tmp_path: Path) -> None:
    evaluated, exported = ids(mine)[4], ids(mine)[8]
    row = {
        "evaluation_id": "e",
        "checkpoint_id": evaluated,
        "task": "caption",
        "metric": "exact",
        "subset": "all",
    }
    mine.store().append("evaluations", pa.Table.from_pylist([row]), parts=["e"])
    out = run("export", exported, tmp_path / "out", "-c", mine.config)
    assert out.exit_code == 0, out.output
    assert lineage.about(mine.store(), exported)["exports"] == [str(tmp_path / "out")]
    assert [one["step"] for one in maintained(mine)["checkpoints"]] == [12]
    assert left(mine) == [4, 8, 16, 20]


def test_champions_stay_and_so_do_those_that_a_rollback_leads_to(mine: Any) -> None:
    for outcome, step in (("promoted", 4), ("refused", 8), ("promoted", 12)):
        champions.record(mine.store(), outcome, ids(mine)[step], "why")
    assert [one["step"] for one in maintained(mine)["checkpoints"]] == [8]
    told = json.loads(run("lineage", "checkpoint", "champion", "-c", mine.config, "--json").stdout)
    assert told["checkpoint"]["checkpoint_id"] == ids(mine)[12]


def test_a_checkpoint_that_captions_rows_stays(mine: Any) -> None:
    text = mine.config.read_text()
    name = ids(mine)[12]
    step = f'[[annotators]]\nuse = "annotators.own_captions"\ncheckpoint = "{name}"\n'
    mine.config.write_text(text.replace("[[filters]]", f"{step}[[filters]]", 1))
    assert [one["step"] for one in maintained(mine)["checkpoints"]] == [4, 8]
    assert left(mine) == [12, 16, 20]


def test_a_pruned_checkpoint_keeps_its_lineage_and_says_what_became_of_it(mine: Any) -> None:
    from flows.checkpoints import load

    gone = ids(mine)[4]
    before = lineage.counts(mine.store(), gone)
    maintained(mine)
    assert dict(mine.sql("SELECT step, path IS NULL FROM checkpoints WHERE run_id = 'many'")) == {
        4: True, 8: True, 12: True, 16: False, 20: False,
    }  # fmt: skip
    assert lineage.counts(mine.store(), gone) == before
    shown = run("lineage", "checkpoint", gone, "-c", mine.config)
    assert "pruned" in shown.stdout and shown.exit_code == 0
    assert (
        json.loads(run("lineage", "checkpoint", gone, "-c", mine.config, "--json").stdout)["checkpoint"][
            "weights"
        ]
        is False
    )
    for command in (["evaluate", "--checkpoint", gone], ["generate", "a red circle", "--checkpoint", gone]):
        result = run(*command, "-c", mine.config)
        assert result.exit_code == 1
        assert f"checkpoint {gone} (run many, step 4) was pruned" in result.stderr
        assert ids(mine)[20] in result.stderr and f"millrace lineage checkpoint {gone}" in result.stderr
    assert load(mine.store(), "many").id == ids(mine)[20]
    with pytest.raises(ConfigError, match='no checkpoint "zzzz"'):
        load(mine.store(), "zzzz")


def test_a_run_goes_on_from_what_is_left(mine: Any) -> None:
    """Equal weights, bit by bit, as if nothing had been pruned."""
    from model.train import Stopped, train

    mine.change("checkpoint_every = 5", f"checkpoint_every = {EVERY}")
    asked = read(mine.config).train.model_copy(update={"steps": STEPS, "keep_checkpoints": 9})
    stops = iter([False] * 9 + [True] * 100)
    with pytest.raises(Stopped):
        train(mine.store(), mine.snapshot(), asked, run_id="stopped", stop=lambda: next(stops))
    steps = left(mine, "stopped")
    maintained(mine)
    assert left(mine, "stopped") == steps[-2:]
    train(mine.store(), mine.snapshot(), asked, run_id="stopped")
    [(again,)] = mine.sql(
        f"SELECT checkpoint_id FROM checkpoints WHERE run_id = 'stopped' AND step = {STEPS}"
    )
    assert again == ids(mine)[STEPS]


def test_a_run_at_work_prunes_by_itself(mine: Any, process: Any, wait_until: Any) -> None:
    """Whoever trains holds the run's lock; what a kill left incomplete goes once nobody does."""
    half = mine.path / "store/checkpoints/many/00000024"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    holder = process(
        mine,
        sys.executable,
        "-c",
        "import time\nfrom storage.store import Store\n"
        "with Store.open('store').lock('run-many'):\n    print('held', flush=True)\n    time.sleep(600)",
    )
    assert wait_until(lambda: "held" in holder.said() or not holder.alive())
    assert maintained(mine)["checkpoints"] == []
    assert left(mine) == [4, 8, 12, 16, 20, 24]
    holder.kill()
    done = maintained(mine)["checkpoints"]
    assert {"run_id": "many", "step": 24, "checkpoint_id": None, "bytes_freed": 4} in done
    assert left(mine) == [16, 20]


def test_old_files_go_and_older_snapshots_still_read(mine: Any) -> None:
    from flows import maintain

    first, store = mine.snapshot(), mine.store()
    held = {one: first.samples(one).num_rows for one in ("train", "test")}
    gone = store.read("samples", ["sample_id"], where="source = 'tars'")["sample_id"]
    for table in ("decisions", "samples"):
        store.delete(table, gone)
    config = read(mine.config)
    asked = config.maintain.model_copy(update={"keep_hours": 0})  # no more than a test may ask for
    done = maintain.run(config.model_copy(update={"maintain": asked}))
    assert done["pictures_dropped"] > 0
    assert sum(one["files_removed"] for one in done["tables"]) > 0
    again = Snapshot.open(mine.store(), first.name)
    assert {one: again.samples(one).num_rows for one in held} == held
    assert (
        sum(batch.num_rows for batch in again.images()) == sum(batch.num_rows for batch in first.images()) > 0
    )
    assert mine.sql("SELECT count(*) FROM images ANTI JOIN samples USING (image_id)") == [(0,)]


def test_what_a_killed_worker_left_is_swept(mine: Any) -> None:
    dead = mine.path / f"store/staging/.part.{parts.machine()}.999999999"
    dead.mkdir(parents=True)
    assert maintained(mine)["staging_swept"] == 1
    assert not dead.exists()


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("keep_hours = 0", "keep_hours"),
        ("keep_checkpoints = 0", "keep_checkpoints"),
        ("keep_days = 1", "keep_hours"),
    ],
)
def test_settings_have_limits(setting: str, word: str, tmp_path: Path) -> None:
    import tomllib

    with pytest.raises(ConfigError, match=word):
        parse(tomllib.loads(f"[maintain]\n{setting}"))


@pytest.mark.slow
def test_beside_an_ingest_nothing_is_lost(fresh: Any, milled: Any, command: Any) -> None:
    """Again and again while the ingest runs; in the end the same rows under the same hash."""
    from flows import maintain

    ingest = command(fresh, "ingest", "--json")
    rounds = 0
    while ingest.alive():
        if (fresh.path / "store/store.json").exists():
            maintain.run(read(fresh.config))
            rounds += 1
    ingest.wait()
    assert rounds > 1
    assert fresh.snapshot().content_hash == milled.snapshot().content_hash
    assert fresh.snapshot().samples().equals(milled.snapshot().samples())
    assert fresh.sql("SELECT bool_and(adds_up) FROM funnel_check") == [(True,)]
    assert fresh.sql("FROM samples ANTI JOIN images USING (image_id) WHERE image_id IS NOT NULL") == []
