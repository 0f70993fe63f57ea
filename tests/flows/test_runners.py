"""Whoever does the work may die at it: the flow is told what to change."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from flows import mistakes, runners
from pipeline.stage import Job
from storage.store import Store


def dies(store: Store, job: Job) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return job.key


def test_a_worker_process_that_is_killed_is_a_line_that_says_what_to_change(tmp_path: Path) -> None:
    with runners.Processes(1) as pool, pytest.raises(runners.WorkerDied, match="fewer") as told:
        pool.make(dies, Store.open(tmp_path / "store"), [Job("a")])
    assert isinstance(told.value, mistakes.user_errors())
    assert "\n" not in mistakes.message(told.value)
