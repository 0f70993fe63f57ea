"""Peers in virtual environments of their own, and workers that do the same work by turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.rig.contract import Bench, BenchmarkError

ROOT = Path(__file__).parents[2]
ONE_THREAD = dict.fromkeys(("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def environment(bench: Bench, package: str, *needs: str, torch: bool = False) -> Path:
    """The interpreter of `.bench/peers/<package>`; made at the first call, with the package's newest version, or with
    all that is needed if it is more than that. With `torch` it sees our packages behind its own, by a .pth file, so that
    torch (5 GB) is not installed twice and is the same on both sides.

    Raises:
        BenchmarkError: pip could not install it.
    """
    folder = bench.folder("peers") / package
    python, mark = folder / "bin" / "python", folder / "installed"
    if not mark.exists():
        print(f"installing {package} into {folder}", flush=True)
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        if torch:
            theirs, mine = (sysconfig.get_path("purelib", vars=v) for v in ({"base": str(folder)}, None))
            (Path(theirs) / "ours.pth").write_text(f"{mine}\n")
        pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade")
        _run(*pip, *(needs or (package,)))
        mark.touch()
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchmarkError(f"{' '.join(command)} ended with {done.returncode}: {last}")


class Worker:
    """A process that prepares once, then does its work whenever it is asked to, on one thread or more.

    It says a line of JSON when it is ready; for each line that it gets it works once, and says its seconds.
    """

    def __init__(self, python: Path, script: Path, *words: str, ours: bool = False, threads: int = 1) -> None:
        counted = dict.fromkeys(ONE_THREAD, str(threads))
        env = {**os.environ, **counted, "TOKENIZERS_PARALLELISM": "false"}
        env |= {"PYTHONPATH": str(ROOT)} if ours else {}
        command = [str(python), "-P", str(script), *words]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env)
        self.about: dict[str, Any] = self._answer()
        self.last: dict[str, Any] = {}
        """What it said of its last work."""

    def measure(self) -> float:
        """Seconds of doing the work once."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        self.last = self._answer()
        return float(self.last["seconds"])

    def finish(self) -> None:
        """Ends the worker, which writes down what it made before it goes.

        Raises:
            BenchmarkError: it ended with an error.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait():
            raise BenchmarkError(f"{self._said()} ended with {self._process.returncode}")

    def stop(self) -> None:
        """Ends it at once, if it still runs."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{self._said()} ended with {self._process.wait()}")
        return json.loads(line)

    def _said(self) -> str:
        return f"worker {' '.join(map(str, self._process.args[2:4]))}"  # type: ignore[index]


def by_turns(workers: Sequence[Worker], pairs: int) -> list[list[float]]:
    """Seconds of each worker, `pairs` times one after the other, after a warm-up."""
    for worker in workers:
        worker.measure()
    rounds = [[worker.measure() for worker in workers] for _ in range(pairs)]
    return [list(column) for column in zip(*rounds, strict=True)]
