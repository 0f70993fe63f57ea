"""How fast are near-copies found among image files, against imagededup and Daft, and how many of the planted ones?

Measured: `--size` gallery pictures as PNG and JPEG files in a folder (written once), to pairs of names: reading,
decoding, hashing, searching, on two cores; each run is a fresh process, and its clock starts when everything is imported.
Ours is the annotator `perceptual_hash` and the gather `near_duplicates` with their defaults; imagededup is its PHash
with its own search, Daft its `image_hash` (phash) with joins on quarters of the hash; both at distance 2,
where they are near their best (of 0, 2, 4 and 10; imagededup's default of 10 joins eight wrong pairs to each right one).
The limit is reading and decoding the files, by two threads of OpenCV. Quality is F1 over pairs of planted copies.
`cpu_ratio` is the peer's CPU seconds over ours.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rig.contract import Bench, BenchmarkError, Result
from benchmarks.rig.peers import ROOT, environment
from pipeline.gallery import corpus, pictures

SIZE = 20_000
GOAL = 2.0
PAIRS = 3
SEED = 0
SCRIPT = Path(__file__).parent / "rig" / "dedupe_once.py"
PEERS = ("imagededup", "daft")
SAME = frozenset({*corpus.COPIES, *corpus.LEAKS, "shared_picture"})

Pair = tuple[str, str]


def run(bench: Bench) -> list[Result]:
    """A result for each peer; the three by turns, after a warm-up of each."""
    folder, truth = files(bench)
    sides = {"ours": Path(sys.executable)} | {peer: environment(bench, peer) for peer in PEERS}
    took: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for turn in range(1 + bench.pairs):
        for side, python in sides.items():  # by turns
            answer = deduped(python, side, folder, bench.folder("image_dedupe") / f"{side}.json")
            if turn:
                took[side].append(answer)
    rate = {side: bench.size / median(one["seconds"] for one in runs) for side, runs in took.items()}
    cpu = {side: median(one["cpu_seconds"] for one in runs) for side, runs in took.items()}
    right = {side: scores(runs[-1]["pairs"], truth) for side, runs in took.items()}
    for side in sides:
        recall, precision, _ = right[side]
        print(
            f"{side}: {rate[side]:,.0f} pictures/s, {cpu[side]:.2f} CPU s, recall {recall:.4f}, "
            f"precision {precision:.4f} of {len(truth):,} pairs",
            flush=True,
        )
    bound = limit(folder)
    return [
        Result(
            name="image_dedupe",
            ours=rate["ours"],
            peer=rate[peer],
            peer_name=f"{peer} {took[peer][-1]['version']}, two cores",
            unit="pictures/s",
            ratio=rate["ours"] / rate[peer],
            limit=bound,
            quality_ours=right["ours"][2],
            quality_peer=right[peer][2],
            cpu_ratio=cpu[peer] / cpu["ours"],
        )
        for peer in PEERS
    ]


def files(bench: Bench) -> tuple[Path, set[Pair]]:
    """The folder of `size` files, written once, and the pairs that are copies."""
    folder = bench.folder("image_dedupe") / f"gallery-v{corpus.VERSION}-{SEED}-{bench.size}"
    readable = [
        picture
        for picture in corpus.plan(SEED, bench.size + bench.size // 20).everything
        if picture.kind not in corpus.UNREADABLE
    ][-bench.size :]  # the end holds the held-out ones, of which some leaked
    if not folder.exists():
        scratch = folder.with_suffix(".partial")
        scratch.mkdir(exist_ok=True)
        for picture in readable:
            (scratch / (picture.name + picture.suffix)).write_bytes(pictures.encoded(picture, SEED))
        scratch.replace(folder)
    shown: dict[str, list[str]] = {}
    for picture in readable:
        original = picture.of if picture.kind in SAME else picture.name
        shown.setdefault(original, []).append(picture.name + picture.suffix)
    pairs = (itertools.combinations(sorted(names), 2) for names in shown.values())
    return folder, set(itertools.chain.from_iterable(pairs))


def deduped(python: Path, side: str, folder: Path, answer: Path) -> dict[str, Any]:
    """What one side found, and how long it took.

    Raises:
        BenchmarkError: it failed.
    """
    command = [str(python), "-P", str(SCRIPT), side, str(folder), str(answer)]
    env = {**os.environ, **({"PYTHONPATH": str(ROOT)} if side == "ours" else {"PYTHONPATH": ""})}
    log = answer.with_suffix(".log")
    with log.open("wb") as words:
        status = subprocess.run(command, stdout=words, stderr=words, env=env).returncode
    if status:
        last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise BenchmarkError(f"{side} ended with {status}: {last} (all of it: {log})")
    return json.loads(answer.read_text())


def scores(pairs: list[list[str]], truth: set[Pair]) -> tuple[float, float, float]:
    """Recall, precision and F1."""
    found = {(a, b) for a, b in map(sorted, pairs)}
    right = len(found & truth)
    return right / len(truth), right / max(len(found), 1), 2 * right / (len(found) + len(truth))


def limit(folder: Path) -> float:
    """Files a second that two threads read and decode."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    paths = sorted(folder.iterdir())
    with ThreadPoolExecutor(2) as pool:
        began = time.perf_counter()
        list(
            pool.map(lambda path: cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), 1) is None, paths)
        )
    return len(paths) / (time.perf_counter() - began)
