"""What does a tenth more cost (ours) against the whole (peer)?

Measured: the flow alone, in a fresh process each time, when the Prefect API is up and everything is imported. The corpus
is a folder of photographs (640 x 480) with a caption each, prepared by all steps that need no weights. The peer is the
first run over it without every eleventh photograph; then those are put beside the others, their captions into the table,
and the same command runs again. The limit is the peer's time in proportion to the pictures that came in: work for the
addition and nothing else. Gathers ask the whole corpus by design, so the ratio stays below 10. Quality is the share of
the rows that came in that was kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.rig import corpus, photographs, processes
from benchmarks.rig.contract import Bench, Result

SIZE = 48_000
GOAL = 1 / 0.15
PAIRS = 1
EVERY = 11
"""One of so many photographs comes later: a tenth of the others."""
SOURCE = """
[[sources]]
use = "sources.folder"
name = "photographs"
path = "{path}"
"""


def run(bench: Bench) -> list[Result]:
    """The first run over a corpus, then one after a tenth more came in."""
    files = photographs.write(bench.folder("corpora") / f"photographs-{bench.size}", bench.size)
    folder = corpus.fresh(bench.folder("incremental"))
    config = corpus.configure(folder, SOURCE.format(path=folder / "data"), corpus.PREPARATION)
    with processes.prefect(bench):
        lay(files, folder / "data", early)
        first = processes.ingest(config)
        print(f"first run: {first.seconds:.2f} s, {first.done['pictures']:,} pictures", flush=True)
        lay(files, folder / "data", lambda number: True)
        second = processes.ingest(config)
    added = second.done["pictures"] - first.done["pictures"]
    print(f"{added:,} more: {second.seconds:.2f} s", flush=True)
    return [
        Result(
            name="incremental",
            ours=second.seconds,
            peer=first.seconds,
            peer_name=f"the first run, {first.done['pictures']:,} photographs; then {added:,} more",
            unit="s",
            ratio=first.seconds / second.seconds,
            limit=first.seconds * added / first.done["pictures"],
            quality_ours=second.done["kept"] / second.done["came_in"],
            quality_peer=first.done["kept"] / first.done["came_in"],
        )
    ]


def early(number: int) -> bool:
    """Whether a photograph is there from the start."""
    return number % EVERY != EVERY - 1


def lay(files: Path, data: Path, wanted: Callable[[int], bool]) -> None:
    """Hard links to the wanted photographs, and their table of captions."""
    data.mkdir(parents=True, exist_ok=True)
    lines = (files / "captions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for number, line in enumerate(lines) if wanted(number)]
    for line in kept:
        name = json.loads(line)["file"]
        if not (data / name).exists():
            os.link(files / name, data / name)
    (data / "captions.jsonl").write_text("".join(kept), encoding="utf-8")
