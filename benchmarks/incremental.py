"""What does a tenth more cost (ours) against the whole (peer)?

Measured: the flow alone, in a fresh process each time, when the Prefect API is up and everything is
imported. The peer is the first run over a corpus without every eleventh picture of its folder and without
some of its tars; then those are put beside the others and the same command runs again. The limit is the
peer's time in proportion to the pictures that came in: work for the addition and nothing else. Gathers ask
the whole corpus by design, so the ratio stays below 10. Quality is the share of the rows that came in that
was kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.rig import corpus, processes
from benchmarks.rig.contract import Bench, Result
from pipeline.gallery.writer import Written

SIZE = 20_000
GOAL = 1 / 0.15
PAIRS = 1
EVERY = 11
"""One of so many pictures comes later: a tenth of the others."""


def run(bench: Bench) -> list[Result]:
    """The first run over a corpus, then one after a tenth more came in."""
    gallery = corpus.gallery(bench, bench.size)
    folder = corpus.fresh(bench.folder("incremental"))
    config = corpus.configure(folder, folder / "data")
    with processes.prefect(bench):
        lay(gallery, folder / "data", early)
        first = processes.ingest(config)
        print(f"first run: {first.seconds:.2f} s, {first.done['pictures']:,} pictures", flush=True)
        lay(gallery, folder / "data", lambda path: True)
        second = processes.ingest(config)
    added = second.done["pictures"] - first.done["pictures"]
    print(f"{added:,} more: {second.seconds:.2f} s", flush=True)
    return [
        Result(
            name="incremental",
            ours=second.seconds,
            peer=first.seconds,
            peer_name=f"the first run, {first.done['pictures']:,} pictures; then {added:,} more",
            unit="s",
            ratio=first.seconds / second.seconds,
            limit=first.seconds * added / first.done["pictures"],
            quality_ours=second.done["kept"] / second.done["came_in"],
            quality_peer=first.done["kept"] / first.done["came_in"],
        )
    ]


def early(path: Path) -> bool:
    """Whether a picture, or a shard of them, is there from the start."""
    number = int("".join(filter(str.isdigit, path.stem)))
    return number % EVERY != EVERY - 1 if path.suffix != ".tar" else number % 8 != 7


def lay(gallery: Written, data: Path, wanted: Callable[[Path], bool]) -> None:
    """Hard links to a gallery's files, and its table of captions with the rows of the wanted ones."""
    for source in (gallery.folder, gallery.tars, gallery.heldout):
        here = data / source.name
        chosen = wanted if source != gallery.heldout else (lambda path: True)
        for file in sorted(file for file in source.rglob("*.*") if file.is_file()):
            target = here / file.relative_to(source)
            if file.suffix == ".jsonl" or target.exists() or not chosen(file):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target)
        if (table := source / "captions.jsonl").exists():
            lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = (line for line in lines if chosen(Path(json.loads(line)["file"])))
            (here / "captions.jsonl").write_text("".join(kept), encoding="utf-8")
