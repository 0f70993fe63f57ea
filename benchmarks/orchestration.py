"""What does Prefect cost an ingest? The flow (ours) against its stages by a bare loop (peer).

Orchestration overhead is what the flow takes longer than the same stages, in the same order, with the same worker processes
and the same commits, submitted by a loop of Python's own threads: task and flow runs with their states, the tasks' waiting
for each other, events, logs to the API and the artifact. Each runs in a fresh process and a fresh store, by turns, which of
them first changes; the API is up and everything imported in both before the clock starts, so start-up stands apart. The API
runs on this machine beside the flow, and what it takes from it counts. Where other work shares the machine, seconds say
little and CPU seconds more: those of the process that submits and of the API are told beside them, and compared in
`cpu_ratio`. The tokenizers' fit is shortened (10 steps). The limit is the peer itself. Quality is 1 when both
snapshots have the same content.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

from benchmarks.rig import corpus, processes
from benchmarks.rig.contract import Bench, Result

SIZE = 20_000
GOAL = 0.97
"""Orchestration may take three hundredths."""
PAIRS = 5


def run(bench: Bench) -> list[Result]:
    """By turns, the flow and the loop."""
    data = corpus.gallery(bench, bench.size)
    folder = corpus.fresh(bench.folder("orchestration"))
    found: dict[str, list[processes.Run]] = {"flow": [], "bare": []}
    with processes.prefect(bench):
        for turn in range(bench.pairs):
            for how in ("flow", "bare") if turn % 2 == 0 else ("bare", "flow"):
                found[how].append(one := ingest(corpus.configure(corpus.fresh(folder / how), data.path), how))
                print(
                    f"{how}: {one.seconds:.2f} s; CPU seconds: {one.usage.cpu_seconds:.1f} in all, start-up included; of these "
                    f"where work is submitted, and in the API: {one.done['own_cpu']:.2f}",
                    flush=True,
                )
    seconds = {how: median(one.seconds for one in runs) for how, runs in found.items()}
    cpu = {how: median(one.done["own_cpu"] for one in runs) for how, runs in found.items()}
    spent = cpu["flow"] - cpu["bare"]
    whole = median(one.usage.cpu_seconds for one in found["flow"])
    print(
        f"overhead: {1 - seconds['bare'] / seconds['flow']:.1%} of the seconds; {spent:.2f} CPU seconds, {spent / whole:.1%}",
        flush=True,
    )
    same = len({one.done["content_hash"] for runs in found.values() for one in runs}) == 1
    return [
        Result(
            name="orchestration",
            ours=seconds["flow"],
            peer=seconds["bare"],
            peer_name=f"the same stages by a bare loop, {bench.size:,} pictures",
            unit="s",
            ratio=seconds["bare"] / seconds["flow"],
            limit=seconds["bare"],
            quality_ours=float(same),
            quality_peer=1.0,
            cpu_ratio=cpu["bare"] / cpu["flow"],
        )
    ]


def ingest(config: Path, how: str) -> processes.Run:
    """One run; the API's CPU seconds meanwhile are added to its own."""
    before = api_cpu()
    done = processes.ingest(config, how)
    done.done["own_cpu"] += api_cpu() - before
    return done


def api_cpu() -> float:
    """CPU seconds of the API that this process has started, so far."""
    import psutil

    servers = [one for one in psutil.Process().children() if "flows.server" in one.cmdline()]
    return sum(used.user + used.system for used in (one.cpu_times() for one in servers))
