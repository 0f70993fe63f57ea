"""A checkpoint is written while training goes on, from a copy; a kill in the middle costs nothing of the one before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model import checkpoint
from model.checkpoint import Checkpoint
from model.saver import Saver
from storage.errors import StoreFull


def test_it_writes_a_copy_and_one_after_the_other(tmp_path: Path) -> None:
    go, order = threading.Event(), []
    weight = torch.zeros(3)

    def write(step: int) -> object:
        def now(weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]) -> Checkpoint:
            order.append(f"begin {step}")
            assert go.wait(10)
            saved = checkpoint.write(tmp_path, step, weights, optimizer, {})
            order.append(f"end {step}")
            return saved

        return now

    done: list[int] = []
    with Saver(lambda saved: done.append(saved.step)) as saver:
        saver.save(write(1), {"w": weight}, {})  # type: ignore[arg-type]
        weight += 1  # the step goes on
        saver.look()
        assert done == []
        go.set()
        saver.save(write(2), {"w": weight}, {})  # type: ignore[arg-type]
        assert done == [1]
        saver.wait()
    assert done == [1, 2] and order == ["begin 1", "end 1", "begin 2", "end 2"]
    first, second = (checkpoint.read(tmp_path / f"{step:08d}").weights()["w"] for step in (1, 2))
    assert first.tolist() == [0, 0, 0] and second.tolist() == [1, 1, 1]


def test_what_went_wrong_in_the_thread_is_raised_by_the_next_call() -> None:
    def full(weights: object, optimizer: object) -> Checkpoint:
        raise StoreFull("no room")

    with Saver(lambda saved: None) as saver:
        saver.save(full, {}, {})
        with pytest.raises(StoreFull):
            saver.wait()


SAVING = """
import sys, torch
from functools import partial
from pathlib import Path
from model import checkpoint
from model.saver import Saver
root = Path(sys.argv[1])
weights = {"w": torch.arange(8_000_000, dtype=torch.float32)}
with Saver(lambda saved: print("saved", saved.step, flush=True)) as saver:
    for step in range(1, 10_000):
        saver.save(partial(checkpoint.write, root, step, meta={}), weights, weights)
"""


@pytest.mark.slow
def test_kill_9_during_a_save_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """Killed when a folder is there whose metadata is not: in the middle of writing, each time at another moment."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for turn in range(4):
        root = tmp_path / str(turn)
        with subprocess.Popen(
            [sys.executable, "-c", SAVING, str(root)], env=env, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "saved 1\n"
            moments = ("model.safetensors", "optimizer.safetensors")
            while not any(
                (folder / moments[turn % 2]).exists() and not (folder / checkpoint.META).exists()
                for folder in root.iterdir()
            ):
                time.sleep(0)
            child.send_signal(signal.SIGKILL)
        saved = checkpoint.read(root).verify()
        whole = torch.arange(8_000_000, dtype=torch.float32)
        assert saved.step >= 1 and torch.equal(saved.weights()["w"], whole)
        assert torch.equal(saved.optimizer()["w"], whole)
