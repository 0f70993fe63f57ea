"""How many tokens a second does our tiny model write with its cache, against transformers' Llama of the same size?

Measured: `--size` new tokens after a prompt of 16, the likeliest each time, for one row and for eight, prompt and
loop included, in seconds of CPU on one thread. Ours is `generate` on the preset tiny (text weights and one head are
active); the peer is `LlamaForCausalLM.generate` with the same vocabulary, width, depth, heads and, to a thousandth,
number of active parameters, once as it is and once compiled with a static cache, in float32 as ours. All run by turns
after a warm-up, which compiles. Not measured: loading. The limit is what the matrix products of our steps take alone.
Quality is the share of the tokens that are the likeliest ones too when the whole row is read at once without a cache.
The peer's environment holds transformers only; torch is this project's own, the same for both.
"""

from __future__ import annotations

import sys
import sysconfig
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.rig.contract import Bench, Result
from benchmarks.rig.peers import Worker, by_turns, environment

SIZE = 96
GOAL = 2.0
PAIRS = 9
BATCHES = (1, 8)
SCRIPT = Path(__file__).parent / "rig" / "decode_worker.py"
TITLES = {"dynamic": "eager", "compiled": "compiled, static cache"}


def run(bench: Bench) -> list[Result]:
    """A result for each batch size and each setting of the peer."""
    python = {"ours": Path(sys.executable)} | dict.fromkeys(TITLES, peer(bench))
    return [result for rows in BATCHES for result in compared(bench, python, rows)]


def peer(bench: Bench) -> Path:
    """The interpreter of an environment with transformers of its own and this project's torch."""
    python = environment(bench, "transformers")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    borrowed = python.parents[1] / "lib" / version / "site-packages" / "project.pth"
    borrowed.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def compared(bench: Bench, python: dict[str, Path], rows: int) -> list[Result]:
    """Ours against each setting of the peer, side by side."""
    with ExitStack() as stack:
        workers = {}
        for kind, interpreter in python.items():
            words = (kind, str(rows), str(bench.size))
            workers[kind] = Worker(interpreter, SCRIPT, *words, ours=kind == "ours")
            stack.callback(workers[kind].stop)
        took = dict(zip(python, by_turns(list(workers.values()), bench.pairs), strict=True))
        for worker in workers.values():
            worker.finish()
    about = {kind: worker.about for kind, worker in workers.items()}
    rate = {kind: rows * bench.size / median(seconds) for kind, seconds in took.items()}
    print(
        f"rows {rows}: active parameters { ({kind: told['parameters'] for kind, told in about.items()}) }",
        flush=True,
    )
    return [
        Result(
            name="decode",
            ours=rate["ours"],
            peer=rate[kind],
            peer_name=f"transformers {about[kind]['version']} Llama, {title}, batch {rows}, one thread",
            unit="tok/CPU s",
            ratio=median(theirs / own for theirs, own in zip(took[kind], took["ours"], strict=True)),
            limit=rows * bench.size / about["ours"]["limit_seconds"],
            quality_ours=about["ours"]["agreement"],
            quality_peer=about[kind]["agreement"],
        )
        for kind, title in TITLES.items()
    ]
