"""How many samples a second become batches, against litData and webdataset, and does a training step wait for them?

Measured: seconds on one thread, by turns, from files on disk (in the page cache) to batches; a sample is a picture's
64 codes and the ids of its three texts, and all sides have the same arrays. Ours are the batches of training: drawn
from the whole corpus by its permutation, packed into 32 rows of 160 tokens, with positions, branches, targets, over
arrays mapped from files. The peers give 40 samples as one tensor of ids, padded to the longest, shuffled (litData by
chunk, webdataset through a buffer of 1,000 and by shard), in this process and with nothing packed; each in an
environment of its own that sees our torch by a .pth file. JPEG decoding is no part of it. The share of a training
step that packing takes is printed: CPU seconds of a batch over those of a step of the preset tiny. The limit is NumPy
copying the arrays of a sample, one sample after the other. Quality is the share of a batch's places that hold tokens:
ours packs, a peer's samples are padded to the longest of their batch.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.rig import made_corpus
from benchmarks.rig.contract import Bench, Result
from benchmarks.rig.loader_worker import BATCH, sample
from benchmarks.rig.peers import Worker, by_turns, environment

SIZE = 20_000
PAIRS = 5
GOAL = 2.0
SHARE = 0.02
"""Of a step that packing may take."""
STEPS = 3
SCRIPT = Path(__file__).parent / "rig" / "loader_worker.py"
PEERS = ("litdata", "webdataset")


def run(bench: Bench) -> list[Result]:
    """A result for each peer."""
    folder = prepared(bench)
    kinds, reads = ["ours", *PEERS], max(100, bench.size)
    with ExitStack() as stack:
        workers = {}
        for kind in kinds:
            python = Path(sys.executable) if kind == "ours" else environment(bench, kind, torch=True)
            workers[kind] = Worker(python, SCRIPT, kind, str(folder), str(reads), ours=kind == "ours")
            stack.callback(workers[kind].stop)
        turns = by_turns(list(workers.values()), bench.pairs)
        for worker in workers.values():
            worker.finish()
    seconds = {kind: median(took) for kind, took in zip(kinds, turns, strict=True)}
    about, cpu = workers["ours"].about, {kind: workers[kind].last["cpu"] for kind in kinds}
    share = cpu["ours"] * about["batch"] / step_seconds()
    print(f"packing takes {share:.2%} of a step's CPU seconds (goal: under {SHARE:.0%})", flush=True)
    arrays = dict(np.load(folder / "samples.npz"))
    return [
        Result(
            name="loader",
            ours=1 / seconds["ours"],
            peer=1 / seconds[peer],
            peer_name=f"{workers[peer].about['about']}, one process",
            unit="samples/s",
            ratio=seconds[peer] / seconds["ours"],
            limit=1 / copying(arrays),
            quality_ours=about["filled"],
            quality_peer=padded(arrays),
            cpu_ratio=cpu[peer] / cpu["ours"],
        )
        for peer in PEERS
    ]


def prepared(bench: Bench) -> Path:
    """The arrays on disk, ours and those that the peers write theirs from; made once for each size."""
    folder = bench.folder("loader") / str(bench.size)
    if not (folder / "samples.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        corpus = made_corpus.corpus(bench.size)
        corpus.save(folder / "corpus")
        with (folder / "samples.partial").open("wb") as file:
            np.savez(file, codes=corpus.codes, ids=corpus.ids, ends=corpus.ends)
        (folder / "samples.partial").replace(folder / "samples.npz")
    return folder


def copying(arrays: dict[str, np.ndarray]) -> float:
    """Seconds of copying one sample's arrays."""
    number = min(5000, len(arrays["codes"]))
    began = time.perf_counter()
    for i in range(number):
        for values in sample(arrays, i).values():
            values.copy()
    return (time.perf_counter() - began) / number


def padded(arrays: dict[str, np.ndarray]) -> float:
    """Share of tokens among the places of the peers' batches, padded to their longest sample."""
    lengths = arrays["codes"].shape[1] + np.diff(arrays["ends"][:: made_corpus.TEXTS])
    whole = lengths[: len(lengths) // BATCH * BATCH].reshape(-1, BATCH)
    return float(whole.mean() / whole.max(axis=1).mean()) if len(whole) else 1.0


def step_seconds() -> float:
    """CPU seconds of a training step of the preset tiny, on one thread."""
    from functools import partial

    import torch

    from benchmarks.rig.step_worker import ours

    before = torch.get_num_threads()
    told = {"rows": 32, "length": 160, "pictures": 500, "batches": STEPS, "seed": 0, "threads": 1}
    settings, batches = ours(told)
    torch.set_num_threads(1)
    took = []
    for make in settings.values():
        step = make()
        for batch in batches:
            began = time.process_time()
            partial(step, *batch)()
            took.append(time.process_time() - began)
    torch.set_num_threads(before)
    return min(took)
