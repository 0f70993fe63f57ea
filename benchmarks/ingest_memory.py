"""Does an ingest's memory grow with the corpus? Peak at 40,000 pictures (ours) against 5,000 (peer).

Measured: the largest sum of resident memory over `millrace ingest` and all its workers, from the start of
the interpreter to its end, tokenizers fitted on the way. Not measured: the Prefect API, which is another
process. The limit is the peak of the same processes on a corpus of 100 pictures: what the libraries take by
themselves. Quality is the share of the rows that came in that was kept. `--size` is the larger corpus; the
other is an eighth.
"""

from __future__ import annotations

from benchmarks.rig import corpus, processes
from benchmarks.rig.contract import Bench, Result

SIZE = 40_000
GOAL = 1 / 1.2
"""Memory may grow by a fifth."""
PAIRS = 1
TIMES = 8
FEWEST = 100


def run(bench: Bench) -> list[Result]:
    """Peaks of three corpora, each ingested by a fresh process into a fresh store."""
    small = max(FEWEST, bench.size // TIMES)
    with processes.prefect(bench):
        floor = peak(bench, FEWEST)
        peer, ours = peak(bench, small), peak(bench, bench.size)
    return [
        Result(
            name="ingest_memory",
            ours=ours.usage.peak_mib,
            peer=peer.usage.peak_mib,
            peer_name=f"the same at {small:,} of {bench.size:,} pictures",
            unit="MiB",
            ratio=peer.usage.peak_mib / ours.usage.peak_mib,
            limit=floor.usage.peak_mib,
            quality_ours=ours.done["kept"] / ours.done["came_in"],
            quality_peer=peer.done["kept"] / peer.done["came_in"],
        )
    ]


def peak(bench: Bench, pictures: int) -> processes.Run:
    """One ingest of so many pictures, told in a line."""
    data = corpus.gallery(bench, pictures)
    folder = corpus.fresh(bench.folder("ingest_memory") / str(pictures))
    found = processes.ingest(corpus.configure(folder, data.path))
    shares = " + ".join(f"{share:,.0f}" for share in found.usage.at_peak)
    print(
        f"{pictures:,} pictures: {found.usage.peak_mib:,.0f} MiB at the peak ({shares}), "
        f"{found.done['came_in']:,} rows in {found.seconds:,.1f} s",
        flush=True,
    )
    return found
