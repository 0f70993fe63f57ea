"""How many pictures a second do we collect from a list of URLs, against img2dataset, and at what cost in CPU time?

Measured: the same list of URLs of one server on this machine (640 x 480 JPEGs), fetched, shrunk to a long side of
256, encoded at quality 90 and stored, by two processes on either side; each run is a fresh process, from its start
to its end. Ours asks for consent, keeps the ledger and commits to a store; img2dataset writes tars. CPU seconds are
those of the whole tree of processes; the server is another and serves both. The limit is decoding and encoding
alone, by two processes, of the same files. Quality is the PSNR, in dB, of stored pictures against the originals
shrunk by a box filter in floating point; the JPEG encoding costs both most of it. `cpu_ratio` is the peer's CPU
seconds over ours.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.rig import processes
from benchmarks.rig.contract import Bench, BenchmarkError, Result
from benchmarks.rig.peers import environment
from benchmarks.rig.picture_server import photograph
from benchmarks.rig.processes import Usage
from storage import media
from storage.limits import Limits
from storage.store import Store

SIZE = 10_000
PAIRS = 5
GOAL = 2.0
COMPARED = 100
RIG = Path(__file__).parent / "rig"


def run(bench: Bench) -> list[Result]:
    """Both sides by turns, after a warm-up of each."""
    python = {"ours": Path(sys.executable), "img2dataset": environment(bench, "img2dataset")}
    folder, took = bench.folder("collect"), {"ours": [], "img2dataset": []}  # type: ignore[var-annotated]
    with served(bench.size) as port:
        for side in python:
            collect(python[side], side, listed(folder, port, min(200, bench.size)), folder / f"warm-{side}")
        urls = listed(folder, port, bench.size)
        for _ in range(bench.pairs):
            for side in python:
                took[side].append(collect(python[side], side, urls, folder / side))
    rate = {side: bench.size / median(usage.seconds for usage in runs) for side, runs in took.items()}
    cpu = {side: median(usage.cpu_seconds for usage in runs) for side, runs in took.items()}
    for side, runs in took.items():
        peak = median(usage.peak_mib for usage in runs)
        print(
            f"{side}: {rate[side]:,.0f} pictures/s, {cpu[side] / bench.size * 1000:.2f} CPU ms each, {peak:,.0f} MiB"
        )
    bound, mine, theirs = limit(), ours_stored(folder / "ours"), theirs_stored(folder / "img2dataset")
    print(
        f"ours is at {rate['ours'] / bound:.0%} of decoding and encoding alone; ours and theirs differ by "
        f"{between(mine, theirs):.1f} dB",
        flush=True,
    )
    return [
        Result(
            name="collect",
            ours=rate["ours"],
            peer=rate["img2dataset"],
            peer_name="img2dataset, two processes",
            unit="pictures/s",
            ratio=rate["ours"] / rate["img2dataset"],
            limit=bound,
            quality_ours=likeness(mine),
            quality_peer=likeness(theirs),
            cpu_ratio=cpu["img2dataset"] / cpu["ours"],
        )
    ]


@contextmanager
def served(count: int) -> Iterator[int]:
    """A server of so many pictures; its port."""
    command = [sys.executable, "-m", "benchmarks.rig.picture_server", str(count)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def listed(folder: Path, port: int, size: int) -> Path:
    """The list of URLs."""
    path = folder / f"list-{size}.csv"
    lines = (f"http://127.0.0.1:{port}/{n}.jpg,picture {n}" for n in range(size))
    path.write_text("\n".join(["url,text", *lines]))
    return path


def collect(python: Path, side: str, urls: Path, out: Path) -> Usage:
    """One run of one side into an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    command = [str(python), str(RIG / "collect_once.py"), side, str(urls), str(out)]
    if side == "ours":
        command[1:2] = ["-m", "benchmarks.rig.collect_once"]
    return processes.measured(command, out.with_suffix(".log"))


def limit() -> float:
    """Pictures a second of two processes that only decode, shrink and encode."""
    pictures = [photograph(number) for number in range(500)] * 4
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(normalised, pictures[:100], chunksize=25))
        began = time.perf_counter()
        list(pool.map(normalised, pictures, chunksize=50))
        return len(pictures) / (time.perf_counter() - began)


def normalised(raw: bytes) -> int:
    return len(media.normalise(raw, Limits(max_side=256, format="jpeg", quality=90)).image)


def ours_stored(folder: Path) -> dict[int, bytes]:
    """Number to picture of our store."""
    with Store.open(folder, create=False).connect() as db:
        rows = db.sql("SELECT origin, image FROM samples JOIN images USING (image_id)").fetchall()
    return {int(Path(origin).stem): image for origin, image in rows}


def theirs_stored(folder: Path) -> dict[int, bytes]:
    """Number to picture of img2dataset's tars."""
    found: dict[int, bytes] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    about = json.load(tar.extractfile(member))  # type: ignore[arg-type]
                    file = tar.extractfile(member.name.removesuffix("json") + "jpg")
                    found[int(Path(about["url"]).stem)] = file.read()  # type: ignore[union-attr]
    return found


def between(one: dict[int, bytes], other: dict[int, bytes]) -> float:
    """Mean PSNR between the pictures that both sides stored, dB."""
    found = []
    for number in list(one)[:COMPARED]:
        a, b = (
            np.asarray(Image.open(io.BytesIO(x[number])).convert("RGB"), np.float64) for x in (one, other)
        )
        found.append(10 * math.log10(255**2 / max(((a - b) ** 2).mean(), 1e-9)))
    return sum(found) / max(len(found), 1)


def likeness(stored: dict[int, bytes]) -> float:
    """Mean PSNR of the first pictures, dB.

    Raises:
        BenchmarkError: some are missing, or of another size.
    """
    found = []
    for number in range(min(COMPARED, len(stored))):
        original = np.asarray(Image.open(io.BytesIO(photograph(number))), np.float64)
        height, width, _ = original.shape
        small = original.reshape(height, width // 5, 5, 3).repeat(2, 2).reshape(height, -1, 5, 3).mean(2)
        small = small.reshape(height // 5, 5, -1, 3).repeat(2, 1).reshape(-1, 5, small.shape[1], 3).mean(1)
        made = np.asarray(Image.open(io.BytesIO(stored[number])).convert("RGB"), np.float64)
        if made.shape != small.shape:
            raise BenchmarkError(f"picture {number} is {made.shape}, not {small.shape}")
        found.append(10 * math.log10(255**2 / max(((made - small) ** 2).mean(), 1e-9)))
    if not found:
        raise BenchmarkError("no picture was stored")
    return sum(found) / len(found)
