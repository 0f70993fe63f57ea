"""Several workers train as one does: the same data, sums that differ in their last bits, and one set of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from flows.launcher import launch
from model import checkpoint
from model.config import ConfigError, TrainConfig
from model.parallel import joined
from model.train import Diverged, Progress, Stopped, train
from storage.snapshot import Snapshot
from storage.store import Store

Settings = Callable[..., TrainConfig]
HERE = Path(__file__).parent
TOLERANCE = 1e-5
"""Largest difference of a weight after 20 steps, of weights of up to 1: float32 sums in another order."""
BATCH = {"rows": 4, "row_length": 64, "draw_share": 0.3}


def run(store: Store, config: TrainConfig, run_id: str, *, workers: int, stop: int | None = None) -> Path:
    """Trains with torchrun's launcher; returns the folder of the last checkpoint."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
    words = [str(HERE / "worker.py"), str(store.path), run_id, config.model_dump_json()]
    env = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *words, *([str(stop)] if stop else [])], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return checkpoint.read(store.folder("checkpoints") / run_id).folder


def furthest(one: Path, other: Path) -> float:
    """The largest difference between two checkpoints' weights."""
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def plan(store: Store, run_id: str) -> list[tuple[int, int, list[str]]]:
    rows = store.read("batch_plan", where=f"run_id = '{run_id}'").to_pylist()
    return sorted((row["step"], row["slot"], row["sample_ids"]) for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_one_two_and_again_one_worker_train_as_one(
    tiny_store: tuple[Store, Snapshot], settings: Settings, parallel: str
) -> None:
    store, snapshot = tiny_store
    config = settings(batch=BATCH, parallel=parallel, steps=20, precision="fp32", keep_checkpoints=5)
    whole = train(store, snapshot, config, run_id="whole")
    run(store, config, "changed", workers=1, stop=5)
    middle = run(store, config, "changed", workers=2, stop=15)
    assert checkpoint.read(middle).step == 15
    changed = run(store, config, "changed", workers=1)
    assert 0 < furthest(whole, changed) < TOLERANCE
    assert plan(store, "whole") == plan(store, "changed")
    one, other = (checkpoint.read(folder).optimizer() for folder in (whole, changed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one if name.startswith("steps."))
    metrics = store.read("metrics", where="run_id = 'changed'").to_pylist()
    assert len(metrics) == len({(row["step"], row["name"]) for row in metrics}) == 4 * 6
    states = [row["state"] for row in store.read("runs", where="run_id = 'changed'").to_pylist()]
    assert sorted(states) == ["finished", "started"]


@pytest.mark.slow
def test_workers_of_ddp_and_fsdp_and_lanes_agree(
    tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    """Accumulation, early stop and a modality that a worker has no token of, too."""
    store, snapshot = tiny_store
    changes = {"steps": 12, "precision": "fp32", "accumulate": 2, "recompute": True}
    changes["early_stop"] = {"every": 6, "split": "train", "batches": 2}
    found = {}
    for parallel in ("ddp", "fsdp"):
        config = settings(batch=BATCH | {"draw_share": 0.0}, parallel=parallel, **changes)
        found[parallel] = run(store, config, parallel, workers=2)
    alone = train(
        store,
        snapshot,
        settings(batch=BATCH | {"draw_share": 0.0}, steps=12, precision="fp32"),
        run_id="alone",
    )
    assert furthest(alone, found["ddp"]) < TOLERANCE
    assert furthest(alone, found["fsdp"]) < TOLERANCE
    assert torch.equal(*(load_file(f / "model.safetensors")["heads.1.weight"] for f in found.values()))


def test_a_batch_with_too_few_rows_for_the_workers_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="at least 4"), joined(settings(accumulate=2)):
        raise AssertionError


def test_settings_survive_the_command_line(settings: Settings) -> None:
    config = settings(parallel="fsdp", early_stop={"every": 3})
    assert TrainConfig.model_validate(json.loads(config.model_dump_json())) == config


class Seen:
    """What a launcher told, and whom to tell to stop it."""

    def __init__(self, then: Callable[[Seen], None]) -> None:
        self.then, self.steps, self.terminate = then, [], lambda: None

    def progress(self, at: Progress) -> None:
        self.steps.append(at.step)
        self.then(self)

    def stopping(self, terminate: Callable[[], None]) -> None:
        self.terminate = terminate


def launched(store: Store, snapshot: Snapshot, config: TrainConfig, run_id: str, seen: Seen) -> Path:
    told = {"progress": seen.progress, "stopping": seen.stopping}
    return launch(store, snapshot, config, run_id=run_id, workers=2, **told)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again_and_the_run_ends_as_ever(
    tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    store, snapshot = tiny_store
    config = settings(batch=BATCH, steps=20, checkpoint_every=9, log_every=1)
    whole = launched(store, snapshot, config, "whole", Seen(lambda seen: None))

    def kill(seen: Seen) -> None:
        if seen.steps == list(range(1, 11)):  # long before the next checkpoint: what is told lags behind
            agents = [p for p in psutil.Process().children() if "torch.distributed.run" in p.cmdline()]
            [agent] = [p for p in agents if "killed" in p.cmdline()]
            agent.children()[1].kill()

    seen = Seen(kill)
    killed = launched(store, snapshot, config, "killed", seen)
    assert seen.steps.count(20) == 1 and len(seen.steps) > 20, "it went on from a checkpoint"
    assert checkpoint.read(whole).id == checkpoint.read(killed).id
    assert plan(store, "whole") == plan(store, "killed")


@pytest.mark.slow
def test_workers_that_are_asked_to_end_save_first_and_what_goes_wrong_is_told(
    tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    store, snapshot = tiny_store
    config = settings(batch=BATCH, steps=4000, checkpoint_every=4000, log_every=1)
    with pytest.raises(Stopped) as stopped:
        launched(store, snapshot, config, "r", Seen(lambda s: s.terminate() if s.steps[-1] == 6 else None))
    assert checkpoint.read(stopped.value.folder).step == stopped.value.step >= 6
    wrong = settings(batch=BATCH, optimizer={"name": "adamw", "lr": 1e30, "warmup": 0, "clip": 0.0})
    with pytest.raises(Diverged, match=r"\[train.spikes\]"):
        launched(store, snapshot, wrong, "wrong", Seen(lambda seen: None))


LAUNCHED = """
import sys
from flows.launcher import launch
from model.config import TrainConfig
from storage.snapshot import Snapshot
from storage.store import Store
store = Store.open(sys.argv[1], create=False)
config = TrainConfig.model_validate_json(sys.argv[2])
launch(store, Snapshot.open(store), config, run_id="left", workers=2,
       progress=lambda at: print(at.step, flush=True), stopping=lambda end: None)
"""


@pytest.mark.slow
def test_workers_end_with_a_launcher_that_is_killed(
    tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    store, _ = tiny_store
    config = settings(batch=BATCH, steps=100_000, checkpoint_every=100_000, log_every=1)
    command = [sys.executable, "-c", LAUNCHED, str(store.path), config.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None and launcher.stdout.readline().strip() == "1"
        family = psutil.Process(launcher.pid).children(recursive=True)
        assert any("flows.train_worker" in one.cmdline() for one in family)
        launcher.kill()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_workers_agree_with_one_on_every_objective(
    tiny_store: tuple[Store, Snapshot], settings: Settings, parallel: str
) -> None:
    store, snapshot = tiny_store
    objectives = {
        "label": {"weight": 1.0, "items": 5},
        "adversarial": {"weight": 1.0, "entropy": 0.1},
        "distil": {"weight": 0.5, "items": 3},
    }
    config = settings(batch=BATCH, parallel=parallel, steps=8, precision="fp32", objectives=objectives)
    alone = train(store, snapshot, config, run_id="alone")
    both = run(store, config, "both", workers=2)
    assert 0 < furthest(alone, both) < TOLERANCE
    assert plan(store, "alone") == plan(store, "both")


def test_fsdp_refuses_what_it_would_compute_in_another_precision(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    asked = {"label": {"weight": 1.0}, "adversarial": {"weight": 1.0}}
    config = settings(batch=BATCH, parallel="fsdp", objectives=asked)
    with pytest.raises(ConfigError, match=r"float32.*precision = \"fp32\""), joined(config):
        pass
