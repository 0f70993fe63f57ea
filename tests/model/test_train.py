"""Training resumes exactly, wherever it stopped, and records what it saw."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model import checkpoint
from model.config import ConfigError, TrainConfig
from model.train import Diverged, Progress, Stopped, TrainError, train
from storage.snapshot import Snapshot
from storage.store import Store

Settings = Callable[..., TrainConfig]
FIGURES = (
    "loss_text",
    "loss_image",
    "gradient_norm",
    "learning_rate",
    "tokens_per_second",
    "loader_wait",
)


def weights_file(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_stopped_and_resumed_equals_undisturbed(
    tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    store, snapshot = tiny_store
    whole = train(store, snapshot, settings(), run_id="whole")
    seen: list[Progress] = []
    with pytest.raises(Stopped) as stopped:
        train(
            store,
            snapshot,
            settings(),
            run_id="halves",
            progress=seen.append,
            stop=lambda: bool(seen) and seen[-1].step >= 15,
        )
    assert stopped.value.step == 15
    halves = train(store, snapshot, settings(), run_id="halves")
    assert weights_file(whole) == weights_file(halves)
    assert (whole / "optimizer.safetensors").read_bytes() == (halves / "optimizer.safetensors").read_bytes()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_loss_falls(tiny_store: tuple[Store, Snapshot], settings: Settings, optimizer: str) -> None:
    store, snapshot = tiny_store
    config = settings(optimizer={"name": optimizer, "warmup": 5, "lr": 0.01}, steps=60)
    train(store, snapshot, config, run_id=optimizer)
    text = [
        row["value"]
        for row in sorted(store.read("metrics").to_pylist(), key=lambda r: r["step"])
        if row["name"] == "loss_text"
    ]
    assert len(text) == 12
    assert text[-1] < 0.6 * text[0]


FULL = """
import resource, sys, torch
from model import checkpoint
from storage.errors import StoreFull
root = __import__("pathlib").Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
checkpoint.write(root, 1, {"w": torch.zeros(10)}, {}, {})
try:
    checkpoint.write(root, 2, {"w": torch.zeros(100_000)}, {}, {})
except StoreFull as error:
    print(error)
"""


def test_a_full_device_keeps_the_last_checkpoint_and_leaves_nothing_of_the_next(tmp_path: Path) -> None:
    """A limit on the size of files is a full device that needs no other device."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True)
    assert "no room left on the device" in done.stdout, done.stderr
    assert checkpoint.read(tmp_path).step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]


@pytest.mark.parametrize("device", ["cuda:99", "mps:9"])
def test_a_device_that_is_not_there_is_a_mistake_of_the_configuration(
    device: str, tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    store, snapshot = tiny_store
    with pytest.raises(ConfigError, match=f'device = "{device}".*choose "cpu"'):
        train(store, snapshot, settings(device=device), run_id="r")
    assert store.version("runs") == -1


def test_a_finished_run_is_not_run_again(tiny_store: tuple[Store, Snapshot], settings: Settings) -> None:
    store, snapshot = tiny_store
    first = train(store, snapshot, settings(steps=10), run_id="r")
    before = {table: store.version(table) for table in ("metrics", "batch_plan", "checkpoints", "runs")}
    assert train(store, snapshot, settings(steps=10), run_id="r") == first
    assert before == {table: store.version(table) for table in before}


def test_records_plan_metrics_and_checkpoints(tiny_store: tuple[Store, Snapshot], settings: Settings) -> None:
    store, snapshot = tiny_store
    folder = train(store, snapshot, settings(steps=25), run_id="r")
    plan = store.read("batch_plan").to_pylist()
    assert sorted((row["step"], row["slot"]) for row in plan) == [(s, r) for s in range(25) for r in range(3)]
    known = set(snapshot.samples("train", ["sample_id"])["sample_id"].to_pylist())
    planned = {i for row in plan for i in row["sample_ids"]}
    assert planned <= known
    assert len(planned) > 0.9 * len(known)
    rows = store.read("checkpoints").to_pylist()
    assert sorted(row["step"] for row in rows) == [10, 20, 25]
    last = max(rows, key=lambda row: row["step"])
    assert store.path / last["path"] == folder
    assert checkpoint.read(folder).verify().id == last["checkpoint_id"]
    metrics = store.read("metrics").to_pylist()
    assert {(row["step"], row["name"]) for row in metrics} == {
        (step, name) for step in (5, 10, 15, 20, 25) for name in FIGURES
    }
    assert sorted(row["state"] for row in store.read("runs").to_pylist()) == ["finished", "started"]
    assert len(checkpoint.complete(folder.parent)) == 2


def test_other_settings_under_the_same_run_id_are_refused(
    tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    store, snapshot = tiny_store
    train(store, snapshot, settings(steps=10), run_id="r")
    with pytest.raises(TrainError, match="other settings"):
        train(store, snapshot, settings(steps=11), run_id="r")


def test_divergence_is_an_error_that_says_what_to_do(
    tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    store, snapshot = tiny_store
    with pytest.raises(Diverged, match="lower"):
        train(
            store,
            snapshot,
            settings(optimizer={"name": "adamw", "lr": 1e30, "warmup": 0, "clip": 0.0}),
            run_id="r",
        )


def test_seconds_become_steps_once(tiny_store: tuple[Store, Snapshot], settings: Settings) -> None:
    store, snapshot = tiny_store
    config = settings(steps=None, seconds=1.5)
    folder = train(store, snapshot, config, run_id="r")
    known = json.loads((folder.parent / "run.json").read_text())
    assert checkpoint.read(folder).step == known["steps"] >= 1
    same = train(store, snapshot, settings(steps=known["steps"]), run_id="same")
    assert weights_file(folder) == weights_file(same)


def test_a_wrong_network_setting_is_named(tiny_store: tuple[Store, Snapshot], settings: Settings) -> None:
    store, snapshot = tiny_store
    with pytest.raises(TrainError, match="widht"):
        train(store, snapshot, settings(model={"widht": 16}), run_id="r")


CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
from conftest import run_settings
from model.train import train
from storage.snapshot import Snapshot
from storage.store import Store
store = Store.open(sys.argv[1], create=False)
show = lambda at: print(at.step, flush=True)
train(store, Snapshot.open(store), run_settings(steps=120), run_id="killed", progress=show)
"""


@pytest.mark.slow
def test_killed_and_resumed_equals_undisturbed(
    tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    store, snapshot = tiny_store
    whole = train(store, snapshot, settings(steps=120), run_id="whole")
    here = Path(__file__).parent
    command = [sys.executable, "-c", CHILD, str(store.path), str(here)]
    env = {**os.environ, "PYTHONPATH": str(here.parents[1]), "OMP_NUM_THREADS": "1"}
    rng = random.Random(0)
    for _ in range(int(os.environ.get("MILLRACE_TORTURE", "2"))):
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(rng.randint(1, 3)):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    last = checkpoint.read(store.folder("checkpoints") / "killed")
    assert last.step == 120
    assert weights_file(last.folder) == weights_file(whole)
    metrics = [(r["step"], r["name"]) for r in store.read("metrics", where="run_id = 'killed'").to_pylist()]
    assert len(metrics) == len(set(metrics)) == 24 * len(FIGURES)
