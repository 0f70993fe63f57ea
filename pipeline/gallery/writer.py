"""Lays the corpus out as a user's data would lie: a folder, tar shards, a URL list; the truth beside them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from pipeline.gallery.corpus import VERSION, Corpus, Picture, plan
from pipeline.gallery.pictures import encoded
from pipeline.gallery.texts import AUTHOR, LICENCE, Row, rows

MARK = "corpus.json"
PER_TAR = 500
PER_TASK = 500
SMALL = 1500
"""Up to so many pictures, starting a second process costs more than it saves."""
COLUMNS = ("url", "text", "lang", "task", "prompt", "label", "document", "licence", "author")

Progress = Callable[[int, int], None]
Task = tuple[str, list[Picture], int, str]


class GalleryExists(Exception):
    """Something else lies where the corpus should go; the message says what to do."""


@dataclass(frozen=True)
class Written:
    """A corpus on disk: sources read `folder`, `tars`, `urls` and `heldout`; the server offers `served`."""

    path: Path
    seed: int
    size: int
    heldout_size: int

    @property
    def folder(self) -> Path:
        return self.path / "folder"

    @property
    def tars(self) -> Path:
        return self.path / "tars"

    @property
    def urls(self) -> Path:
        return self.path / "urls.csv"

    @property
    def served(self) -> Path:
        return self.path / "served"

    @property
    def heldout(self) -> Path:
        return self.path / "heldout"

    @property
    def truth(self) -> Path:
        return self.path / "truth.parquet"


def write(
    path: str | Path,
    seed: int = 0,
    size: int = 20_000,
    heldout: int | None = None,
    *,
    processes: int | None = None,
    base_url: str = "",
    tasks: str = "few",
    progress: Progress | None = None,
) -> Written:
    """Writes the corpus of (seed, size), or finds it written already. `progress` gets (pictures done, all).

    `tasks = "all"` adds translations both ways, titles, summaries and questions about texts. URLs in urls.csv are relative to
    wherever `served/` is offered, unless `base_url` shall stand before them.

    Raises:
        GalleryExists: `path` holds another corpus or other files.
        GalleryTooLarge: more pictures than a corpus can hold.
    """
    path = Path(path)
    corpus = plan(seed, size, heldout)
    written = Written(path, seed, size, len(corpus.heldout))
    mark = {
        "version": VERSION,
        "seed": seed,
        "size": size,
        "heldout": written.heldout_size,
        "base_url": base_url,
    }
    mark |= {"tasks": tasks} if tasks != "few" else {}
    if _complete(path, mark):
        return written
    scratch = path.with_name(path.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    _write_pictures(scratch, corpus, processes, progress)
    _write_texts(scratch, corpus, base_url, tasks)
    _write_truth(scratch, corpus, tasks)
    (scratch / MARK).write_text(json.dumps(mark) + "\n")
    if path.exists():
        path.rmdir()
    scratch.replace(path)
    return written


def _complete(path: Path, mark: dict) -> bool:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return False
    try:
        found = json.loads((path / MARK).read_text())
    except (OSError, ValueError):
        raise GalleryExists(f"{path} exists and is no gallery: name another folder") from None
    if found != mark:
        raise GalleryExists(f"{path} holds another gallery ({found}): remove it, or name another folder")
    return True


def _write_pictures(path: Path, corpus: Corpus, processes: int | None, progress: Progress | None) -> None:
    tasks = list(_tasks(path, corpus))
    processes = processes or min(2, os.cpu_count() or 1)
    total, done = len(corpus.everything), 0
    for number in _run(tasks, 1 if total <= SMALL else processes):
        done += number
        if progress is not None:
            progress(done, total)


def _run(tasks: Sequence[Task], processes: int) -> Iterator[int]:
    if processes == 1:
        yield from map(write_task, tasks)
        return
    # Spawned, not forked: the caller may hold threads and locks.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(write_task, tasks)


def _tasks(path: Path, corpus: Corpus) -> Iterator[Task]:
    """Pieces of work: a tar shard, or files that go under one folder."""
    by_source: dict[str, list[Picture]] = {"folder": [], "tars": [], "urls": [], "heldout": []}
    for picture in corpus.everything:
        by_source[picture.source].append(picture)
    for source, pictures in by_source.items():
        for number, start in enumerate(range(0, len(pictures), PER_TAR if source == "tars" else PER_TASK)):
            piece = pictures[start : start + (PER_TAR if source == "tars" else PER_TASK)]
            name = {"tars": f"tars/gallery-{number:05d}.tar", "urls": "served"}.get(source, source)
            yield str(path / name), piece, corpus.seed, source


def write_task(task: Task) -> int:
    """Writes one piece; returns how many pictures it holds."""
    target, pictures, seed, source = task
    if source == "tars":
        write_tar(Path(target), pictures, seed)
        return len(pictures)
    made: set[Path] = set()
    for picture in pictures:
        file = Path(target) / picture.file
        if file.parent not in made:
            file.parent.mkdir(parents=True, exist_ok=True)
            made.add(file.parent)
        file.write_bytes(encoded(picture, seed))
    return len(pictures)


def write_tar(path: Path, pictures: Sequence[Picture], seed: int) -> None:
    """A WebDataset shard: key.png or key.jpg, key.txt and key.json of each picture; always the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as shard:
        for picture in pictures:
            fields = entry(picture, rows(picture, seed)[0])
            text = fields.pop("text")
            _add(shard, picture.name + picture.suffix, encoded(picture, seed))
            _add(shard, picture.name + ".txt", text.encode())
            _add(shard, picture.name + ".json", _json(fields).encode())


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)  # its defaults: mtime 0, no owner
    info.size = len(content)
    shard.addfile(info, io.BytesIO(content))


def entry(picture: Picture, row: Row) -> dict[str, str]:
    """What the corpus says of a row, under the names that the sources know."""
    return {**row.fields(), "document": picture.name, "licence": LICENCE, "author": AUTHOR}


def _json(fields: dict[str, str]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _write_texts(path: Path, corpus: Corpus, base_url: str, tasks: str) -> None:
    """captions.jsonl of folder and heldout (a line per row, several per picture), and urls.csv."""
    for source, pictures in (("folder", corpus.pictures), ("heldout", corpus.heldout)):
        (path / source).mkdir(exist_ok=True)
        with (path / source / "captions.jsonl").open("w", encoding="utf-8", newline="\n") as lines:
            for picture in pictures:
                if picture.source == source:
                    for row in rows(picture, corpus.seed, tasks):
                        lines.write(_json({"file": picture.file, **entry(picture, row)}) + "\n")
    with (path / "urls.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        for picture in corpus.pictures:
            if picture.source == "urls":
                for row in rows(picture, corpus.seed):
                    table.writerow({"url": base_url + picture.file, **entry(picture, row)})


def _write_truth(path: Path, corpus: Corpus, tasks: str) -> None:
    import pyarrow.parquet as pq  # late: the processes that only draw need no Arrow

    from pipeline.gallery import truth

    pq.write_table(truth.truth(corpus, tasks), path / truth.FILE, compression="zstd")


def found(path: str | Path) -> Written:
    """The corpus that lies at `path`. Raises FileNotFoundError if there is none."""
    mark = json.loads((Path(path) / MARK).read_text())
    return Written(Path(path), mark["seed"], mark["size"], mark["heldout"])
