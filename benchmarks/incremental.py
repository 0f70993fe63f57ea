"""What does a tenth more cost (ours) against the whole (peer)?

Measured: the flow alone, in a fresh process each time, when the Prefect API is up and everything is imported. The peer is the
first run over a corpus without every eleventh file; then those are put beside the others, their captions into the table, and
the same command runs again. The limit is the peer's time in proportion to the pictures that came in: work for the addition and
nothing else. Gathers ask the whole corpus by design, so the ratio stays below 10. Quality is the share of the rows that came
in that was kept.

Two corpora: photographs (640 x 480) with a caption each, prepared by all steps that need no weights; and the gallery's drawn
pictures of 64 pixels with six rows each, prepared by the demo's steps, where a first run costs so little for a row that asking
the whole corpus weighs most.
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
EVERY, EVERY_TAR = 11, 8
"""One of so many pictures, or shards of them, comes later: a tenth of the others."""
SOURCE = """
[[sources]]
use = "sources.folder"
name = "photographs"
path = "{path}"
"""


def run(bench: Bench) -> list[Result]:
    """For each corpus the first run over it, then one after a tenth more came in."""
    photos = photographs.write(bench.folder("corpora") / f"photographs-{bench.size}", bench.size)
    drawn = corpus.gallery(bench, bench.size)
    folder = corpus.fresh(bench.folder("incremental"))
    photo_config = corpus.configure(
        folder / "photographs",
        SOURCE.format(path=(folder / "photographs/data").as_posix()),
        corpus.PREPARATION,
    )
    drawn_config = corpus.configure(folder / "drawn", folder / "drawn/data")
    sources = [drawn.folder, drawn.tars, drawn.heldout]
    with processes.prefect(bench):
        return [
            tenth(photo_config, [photos], "photographs with every step"),
            tenth(drawn_config, sources, "drawn pictures with the demo's steps"),
        ]


def tenth(config: Path, sources: list[Path], what: str) -> Result:
    """Ingests most of the sources' files, then the rest beside them; a source called heldout is there whole from the start."""
    data = config.parent / "data"
    for source in sources:
        lay(source, data / source.name if len(sources) > 1 else data, early)
    first = processes.ingest(config)
    print(f"{what}: first run {first.seconds:.2f} s, {first.done['pictures']:,} pictures", flush=True)
    for source in sources:
        if source.name != "heldout":
            lay(source, data / source.name if len(sources) > 1 else data, lambda path: True)
    second = processes.ingest(config)
    added = second.done["pictures"] - first.done["pictures"]
    share = second.seconds / first.seconds
    print(f"{what}: {added:,} more {second.seconds:.2f} s, {share:.1%} of it", flush=True)
    return Result(
        name="incremental",
        ours=second.seconds,
        peer=first.seconds,
        peer_name=f"the first run, {first.done['pictures']:,} {what}; then {added:,} more",
        unit="s",
        ratio=first.seconds / second.seconds,
        limit=first.seconds * added / first.done["pictures"],
        quality_ours=second.done["kept"] / second.done["came_in"],
        quality_peer=first.done["kept"] / first.done["came_in"],
    )


def early(path: Path) -> bool:
    """Whether a picture, or a shard of them, is there from the start."""
    number, every = (
        int("".join(filter(str.isdigit, path.stem))),
        EVERY_TAR if path.suffix == ".tar" else EVERY,
    )
    return path.parts[0] == "heldout" or number % every != every - 1


def lay(source: Path, data: Path, wanted: Callable[[Path], bool]) -> None:
    """Hard links to a source's wanted files, and its table of captions with their rows."""
    for file in sorted(file for file in source.rglob("*.*") if file.is_file() and file.suffix != ".jsonl"):
        target = data / file.relative_to(source)
        if not target.exists() and wanted(file.relative_to(source.parent)):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target)
    if (table := source / "captions.jsonl").exists():
        lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = (line for line in lines if wanted(Path(source.name, json.loads(line)["file"])))
        (data / "captions.jsonl").write_text("".join(kept), encoding="utf-8")
