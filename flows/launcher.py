"""Starts several workers on this machine by torchrun's elastic launcher, and listens to the first of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.config import TrainConfig
from model.parallel import threads_each
from model.train import Diverged, Progress, Stopped, TrainError
from storage.errors import StoreFull
from storage.snapshot import Snapshot
from storage.store import Store

RESTARTS = 3
"""Times that all workers are started again after one died."""
LAUNCHER = "MILLRACE_LAUNCHER"
"""The process that listens: workers end when it is gone."""
SHUTDOWN_S = 600
"""Seconds that workers have to save when the run is asked to end."""
ERRORS: dict[str, type[Exception]] = {e.__name__: e for e in (Diverged, TrainError, StoreFull)}
"""What a worker says by name, and is raised here again."""


def launch(
    store: Store,
    snapshot: Snapshot,
    config: TrainConfig,
    *,
    run_id: str,
    workers: int,
    progress: Callable[[Progress], None],
    stopping: Callable[[Callable[[], None]], None],
) -> Path:
    """Trains with so many workers on this machine; returns the folder of the final checkpoint.

    `stopping` is told what to call when the run is asked to end.

    Raises:
        TrainError: it failed; the first worker's words are passed on.
        Stopped, StoreFull: as `model.train.train` raises them.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += [f"--nproc-per-node={workers}", f"--max-restarts={RESTARTS}"]
    launcher += [f"--shutdown-timeout={SHUTDOWN_S}", "-m", "flows.train_worker"]
    words = ["--store", str(store.path), "--snapshot", snapshot.name, "--name", run_id]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads_each(config, workers)), LAUNCHER: str(os.getpid())}
    command = [*launcher, *words, "--settings", config.model_dump_json()]
    last: dict[str, Any] = {}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as agent:
        stopping(agent.terminate)
        assert agent.stdout is not None
        try:
            for line in agent.stdout:
                last = told(line) or last
                if "loss" in last:
                    progress(Progress(**last))
        except BaseException:
            agent.terminate()  # leaving waits for its end: that is to be soon
            raise
    if "done" in last:
        return Path(last["done"])
    if "stopped" in last:
        raise Stopped(Path(last["stopped"]), last["step"])
    if "error" in last:
        raise ERRORS.get(last["error"], TrainError)(last["message"])
    raise TrainError(f"run {run_id}: the workers ended with {agent.returncode}, their last words are above")


def told(line: str) -> dict[str, Any]:
    """What a worker says in a line; nothing if the line is somebody else's."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
