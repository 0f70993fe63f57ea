"""Does ridding a million captions of near-duplicates stay within 4 GiB? The bound (peer) against our peak.

Measured: the largest sum of resident memory of one process that reads the captions of a Parquet file, signs them (128
permutations), compares them all and writes the ids to keep; a tenth as many are taken too, and their peak is told. The
limit is the signatures alone. Quality is the F1 of what is dropped, against an exact join of all captions; the peer's
is that of a tenth.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import minhash
from benchmarks.rig import captions
from benchmarks.rig.contract import Bench, Result
from benchmarks.rig.processes import MIB

SIZE = 1_000_000
PAIRS = 1
GOAL = 1.0
BOUND_MIB = 4096.0
TIMES = 10


def run(bench: Bench) -> list[Result]:
    """Two sizes, each taken by a fresh process."""
    _, quality_small = peak(bench, max(100, bench.size // TIMES))
    ours, quality = peak(bench, bench.size)
    return [
        Result(
            name="minhash_memory",
            ours=ours,
            peer=BOUND_MIB,
            peer_name="4 GiB",
            unit="MiB",
            ratio=BOUND_MIB / ours,
            limit=bench.size * minhash.PERMUTATIONS * 4 / MIB,
            quality_ours=quality,
            quality_peer=quality_small,
        )
    ]


def peak(bench: Bench, size: int) -> tuple[float, float]:
    """MiB at the peak, and the F1 of what is dropped."""
    folder = bench.folder("minhash")
    file = captions.write(folder / f"v{captions.VERSION}-{size}.parquet", size)
    used = minhash.once(Path(sys.executable), "ours", file, folder / "ours")
    group = captions.groups(file, minhash.RUN, minhash.THRESHOLD)
    recall, precision = captions.quality(group, minhash.kept(folder / "ours", size))
    print(
        f"{size:,} captions: {used.peak_mib:,.0f} MiB at the peak, {used.cpu_seconds:.1f} CPU s, "
        f"recall {recall:.4f}, precision {precision:.4f}",
        flush=True,
    )
    return used.peak_mib, captions.f1(recall, precision)
