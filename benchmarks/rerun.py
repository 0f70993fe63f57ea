"""What does an ingest with nothing new cost (ours) against the first one (peer)?

Measured: the flow alone, in a fresh process each time, when the Prefect API is up and everything is
imported: listing the sources, reading the shards that are new, every stage, the tokenizers' fit (shortened:
10 steps) and the snapshot. Not measured: start-up of Python and Prefect, and making the corpus. The limit
is what it takes to look at every input file once: its name, size and time. Quality is 1 when the run wrote
no part and its snapshot has the content of the first one, else 0.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

from benchmarks.rig import corpus, processes
from benchmarks.rig.contract import Bench, Result

SIZE = 20_000
GOAL = 20.0
PAIRS = 5
"""Runs with nothing new; the first run happens once in a store."""


def run(bench: Bench) -> list[Result]:
    """One first run, and the median of several after it."""
    data = corpus.gallery(bench, bench.size)
    config = corpus.configure(corpus.fresh(bench.folder("rerun")), data.path)
    with processes.prefect(bench):
        first = processes.ingest(config)
        print(f"first run: {told(first)}, {first.done['came_in']:,} rows", flush=True)
        again = [processes.ingest(config) for _ in range(bench.pairs)]
    print("nothing new: " + "; ".join(map(told, again)), flush=True)
    ours = median(one.seconds for one in again)
    same = all(
        not one.done["parts_made"] and one.done["content_hash"] == first.done["content_hash"] for one in again
    )
    return [
        Result(
            name="rerun",
            ours=ours,
            peer=first.seconds,
            peer_name=f"the first run, {bench.size:,} pictures",
            unit="s",
            ratio=first.seconds / ours,
            limit=median(looked_at(data.path) for _ in range(5)),
            quality_ours=float(same),
            quality_peer=1.0,
        )
    ]


def told(run: processes.Run) -> str:
    """Seconds of a flow; beside them the processor's, start-up included, which tell of a busy machine."""
    return f"{run.seconds:.2f} s ({run.usage.cpu_seconds:.1f} of CPU)"


def looked_at(folder: Path) -> float:
    """Seconds that a walk over a tree with a `stat` of each file takes."""
    began = time.perf_counter()
    pending = [os.fspath(folder)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    entry.stat()
    return time.perf_counter() - began
