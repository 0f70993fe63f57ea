"""How many captions a CPU second are rid of near-duplicates by MinHash, against text-dedup and datatrove?

Measured: CPU seconds of whole trees of processes, each started anew, from a Parquet file of captions (8 to 30 words;
three of ten are an earlier one with up to four edits) to the ids of those to keep. All sides have the same word
2-grams, 128 permutations, bands and rows, which ours derives from the threshold, a Jaccard index of 0.8; ours also
compares the candidates, by their signatures and in doubt by their texts. Each peer runs in its own environment and as
it takes the least CPU time. The limit is reading the file and the hash functions alone: multiply, add and shift, for
each permutation of each 2-gram. Quality is the F1 of what is dropped, against an exact join of all captions: a caption
that has none of its group left counts against precision, one too many against recall.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.rig import captions, processes
from benchmarks.rig.contract import Bench, Result
from benchmarks.rig.corpus import fresh
from benchmarks.rig.peers import environment
from benchmarks.rig.processes import Usage
from pipeline.minhash import bands
from pipeline.shingles import words

SIZE = 200_000
PAIRS = 3
GOAL = 3.0
PERMUTATIONS = 128
RUN = 2
THRESHOLD = 0.8
RECALL = 0.95
PEERS = {"text-dedup": ("text-dedup",), "datatrove": ("datatrove[io,processing]",)}
SCRIPT = Path(__file__).parent / "rig" / "minhash_once.py"


def run(bench: Bench) -> list[Result]:
    """A result for each peer."""
    folder = bench.folder("minhash")
    file = captions.write(folder / f"v{captions.VERSION}-{bench.size}.parquet", bench.size)
    small = captions.write(
        folder / f"v{captions.VERSION}-{min(1000, bench.size)}.parquet", min(1000, bench.size)
    )
    python = {"ours": Path(sys.executable)} | {peer: environment(bench, peer, *PEERS[peer]) for peer in PEERS}
    took: dict[str, list[Usage]] = {side: [] for side in python}
    for side in python:
        once(python[side], side, small, folder / side)
    for _ in range(bench.pairs):
        for side in python:
            took[side].append(once(python[side], side, file, folder / side))
    cpu = {side: median(usage.cpu_seconds for usage in runs) for side, runs in took.items()}
    group = captions.groups(file, RUN, THRESHOLD)
    print(f"{bench.size:,} captions, {bench.size - len(np.unique(group)):,} of them too many")
    f1 = {}
    for side, runs in took.items():
        recall, precision = captions.quality(group, kept(folder / side, bench.size))
        f1[side] = captions.f1(recall, precision)
        peak = median(usage.peak_mib for usage in runs)
        print(
            f"{side}: {cpu[side]:.1f} CPU s, {peak:,.0f} MiB, recall {recall:.4f}, precision {precision:.4f}",
            flush=True,
        )
    bound = limit(file)
    return [
        Result(
            name="minhash",
            ours=bench.size / cpu["ours"],
            peer=bench.size / cpu[peer],
            peer_name=f"{peer} {version(python[peer], peer)}",
            unit="captions/CPU s",
            ratio=cpu[peer] / cpu["ours"],
            limit=bench.size / bound,
            quality_ours=f1["ours"],
            quality_peer=f1[peer],
        )
        for peer in PEERS
    ]


def version(python: Path, package: str) -> str:
    """What an environment has installed of a package."""
    asked = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True).stdout.strip()


def once(python: Path, side: str, file: Path, folder: Path) -> Usage:
    """One run of one side into an empty folder."""
    count, rows = bands(THRESHOLD, PERMUTATIONS, RECALL)
    told = {"permutations": PERMUTATIONS, "run": RUN, "threshold": THRESHOLD, "bands": count, "rows": rows}
    command = [str(python), "-P", str(SCRIPT), side, str(file), str(fresh(folder)), json.dumps(told)]
    if side == "ours":
        command[1:3] = ["-m", "benchmarks.rig.minhash_once"]
    return processes.measured(command, folder.with_suffix(".log"))


def kept(folder: Path, size: int) -> np.ndarray:
    """Which captions a side kept: bool [size]."""
    ids = [pq.read_table(file, columns=["id"])["id"] for file in folder.glob("**/*.parquet")]
    for file in folder.glob("kept/*.arrow"):  # as Hugging Face's datasets write them
        ids.append(pa.ipc.open_stream(file).read_all()["id"])
    found = np.zeros(size, bool)
    for column in ids:
        found[[int(name) for name in column.to_pylist()]] = True
    return found


def limit(file: Path) -> float:
    """CPU seconds of reading the captions, and of so many hash functions over as many 2-grams."""
    began = time.process_time()
    texts = pq.read_table(file)["text"].combine_chunks()
    read = time.process_time() - began
    hashes, _ = words(texts)
    block = np.arange(1 << 13, dtype=np.uint64)
    scratch = np.empty_like(block)
    began = time.process_time()
    for _ in range(PERMUTATIONS * -(-len(hashes) // len(block))):
        np.multiply(block, block[1], out=scratch)
        np.add(scratch, block[2], out=scratch)
        np.right_shift(scratch, block[32], out=scratch)
    return read + time.process_time() - began
