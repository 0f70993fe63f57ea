"""Does collecting from a list of URLs take more memory for a longer list? Peak at 50,000 URLs against 5,000 (peer).

Measured: the largest sum of resident memory over the process that fetches and its decoders, from start to end, with
one server on this machine whose pictures (5,000 different ones) come as fast as they can be decoded. The limit is the
peak of a list of 100. Quality is the share of URLs that were stored. `--size` is the longer list; the other is a tenth.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import collect
from benchmarks.rig.contract import Bench, Result
from benchmarks.rig.processes import Usage
from storage.store import Store

SIZE = 50_000
PAIRS = 1
GOAL = 1 / 1.2
"""Memory may grow by a fifth."""
TIMES = 10
FEWEST = 100
DISTINCT = 5_000


def run(bench: Bench) -> list[Result]:
    """Peaks of three lists, each taken by a fresh process into a fresh store."""
    small = max(FEWEST, bench.size // TIMES)
    with collect.served(min(DISTINCT, bench.size)) as port:
        floor, _ = peak(bench, port, FEWEST)
        peer, quality_peer = peak(bench, port, small)
        ours, quality_ours = peak(bench, port, bench.size)
    return [
        Result(
            name="collect_memory",
            ours=ours.peak_mib,
            peer=peer.peak_mib,
            peer_name=f"the same at {small:,} of {bench.size:,} URLs",
            unit="MiB",
            ratio=peer.peak_mib / ours.peak_mib,
            limit=floor.peak_mib,
            quality_ours=quality_ours,
            quality_peer=quality_peer,
        )
    ]


def peak(bench: Bench, port: int, size: int) -> tuple[Usage, float]:
    """One list, and the share of its URLs that were stored."""
    folder = bench.folder("collect_memory")
    store = folder / str(size)
    usage = collect.collect(Path(sys.executable), "ours", collect.listed(folder, port, size), store)
    with Store.open(store, create=False).connect() as db:
        [(kept,)] = db.sql("SELECT count(*) FROM verdicts WHERE kept").fetchall()
    print(
        f"{size:,} URLs: {usage.peak_mib:,.0f} MiB at the peak, {size / usage.seconds:,.0f} a second",
        flush=True,
    )
    return usage, kept / size
