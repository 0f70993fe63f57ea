"""Processes that are measured: an ingest in a fresh one, and the memory of it and all that it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rig.contract import Bench, BenchmarkError

EVERY_S = 0.05
MIB = 1 << 20
SHARED_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of ru_maxrss."""


@dataclass(frozen=True)
class Usage:
    """What a process and its descendants took."""

    seconds: float
    """From start to end, the interpreter's start included."""
    cpu_seconds: float
    """User and system time of the process and of all its descendants, also of those that it did not wait for."""
    peak_mib: float
    """Largest sum of resident memory over the tree; libraries that two processes share count twice."""
    at_peak: tuple[float, ...]
    """The processes' shares of it, MiB, largest first."""


@dataclass(frozen=True)
class Run:
    """One ingest."""

    seconds: float
    """The flow alone: the Prefect API was up and everything imported when the clock was started."""
    usage: Usage
    done: dict[str, Any]
    """What the flow returned, and `content_hash` and `pictures` of its store."""


@contextmanager
def prefect(bench: Bench) -> Iterator[None]:
    """A Prefect API for the runs inside, with its files in the work folder; outside every measured tree."""
    from flows import server
    from flows.cli import quiet_prefect

    quiet_prefect(bench.work)
    with server.api():
        yield


def ingest(config: Path, how: str = "flow") -> Run:
    """Runs an ingest once in a fresh process: the flow, or its stages by a "bare" loop.

    Raises:
        BenchmarkError: it failed; its words are in ingest.log beside the configuration.
    """
    answer, log = config.with_name("ingest.json"), config.with_name("ingest.log")
    answer.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.rig.ingest_once", str(config), str(answer), how]
    usage = measured(command, log)
    done = json.loads(answer.read_text())
    return Run(done.pop("seconds"), usage, done)


def measured(command: Sequence[str], log: Path) -> Usage:
    """Runs a command to its end, and looks at its whole tree of processes 20 times a second.

    Raises:
        BenchmarkError: it ended with another status than 0.
    """
    began = time.monotonic()
    with log.open("ab") as words:
        process = subprocess.Popen(command, stdout=words, stderr=words, stdin=subprocess.DEVNULL)
    peak: tuple[float, ...] = ()
    spent: dict[int, float] = {}
    ended = 0
    while not ended:
        peak = max(peak, resident(process.pid, spent), key=sum)
        time.sleep(EVERY_S)
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise BenchmarkError(
            f"{' '.join(command[1:4])} ended with {process.returncode}: {last} (all of it: {log})"
        )
    largest = used.ru_maxrss * SHARED_UNIT / MIB  # of one process: what fell between two looks
    cpu = max(used.ru_utime + used.ru_stime, sum(spent.values()))
    return Usage(time.monotonic() - began, cpu, max(sum(peak), largest), tuple(sorted(peak, reverse=True)))


def resident(root: int, spent: dict[int, float]) -> tuple[float, ...]:
    """Resident memory of a process and of each of its descendants, MiB; notes the CPU seconds that each has spent."""
    import psutil

    found = []
    try:
        top = psutil.Process(root)
        for process in [top, *top.children(recursive=True)]:
            try:
                found.append(process.memory_info().rss / MIB)
                used = process.cpu_times()
                spent[process.pid] = used.user + used.system
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        pass
    return tuple(found)
