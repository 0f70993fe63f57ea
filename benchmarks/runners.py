"""The same ingest on threads (peer), on processes and on Ray (ours): equal rows, and how long?

Measured: the flow alone, in a fresh process and a fresh store each time, when the Prefect API is up and everything is
imported; the start of worker processes, or of a Ray cluster of this machine (6 to 8 s), is part of it. All have as many
workers as there are cores to use, at least two. The tokenizers' fit is shortened (10 steps). Not measured: several machines.
The limit is the time of threads divided by the workers, which nothing reaches: gathers, commits and the fit are one core's
work. Quality is 1 when the snapshot has the content of that of threads, else 0.
"""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

from benchmarks.rig import corpus, processes
from benchmarks.rig.contract import Bench, BenchmarkError, Result

SIZE = 20_000
GOAL = 1.0
PAIRS = 1
OURS = ("processes", "ray")


def run(bench: Bench) -> list[Result]:
    """By turns, each runner once a round."""
    data = corpus.gallery(bench, bench.size)
    folder = corpus.fresh(bench.folder("runners"))
    workers = max(
        2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    found: dict[str, list[processes.Run]] = {name: [] for name in ("threads", *OURS)}
    with processes.prefect(bench):
        for turn in range(bench.pairs):
            for name, runs in found.items():
                runs.append(ingest(folder / f"{name}-{turn}", data.path, name, workers))
    hashes = {one.done["content_hash"] for runs in found.values() for one in runs}
    peer = median(one.seconds for one in found["threads"])
    return [
        Result(
            name="runners",
            ours=(ours := median(one.seconds for one in found[name])),
            peer=peer,
            peer_name=f"threads; ours: {name}; {workers} workers, {bench.size:,} pictures",
            unit="s",
            ratio=peer / ours,
            limit=peer / workers,
            quality_ours=float(len(hashes) == 1),
            quality_peer=1.0,
            cpu_ratio=found["threads"][0].usage.cpu_seconds / found[name][0].usage.cpu_seconds,
        )
        for name in OURS
    ]


def ingest(folder: Path, data: Path, runner: str, workers: int) -> processes.Run:
    """One ingest by a runner, told in a line."""
    if runner == "ray":
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise BenchmarkError("Ray is not installed: pip install 'millrace[ray]'") from error
    config = corpus.configure(folder, data)
    settings = {"runner": f'"{runner}"', "workers": str(workers)}
    config.write_text(corpus.overridden(config.read_text("utf-8"), "[run]", settings), "utf-8")
    done = processes.ingest(config)
    print(
        f"{runner}: {done.seconds:.1f} s ({done.usage.cpu_seconds:.1f} of CPU, start-up included), "
        f"{done.done['came_in']:,} rows, {done.done['content_hash'][:12]}",
        flush=True,
    )
    return done
