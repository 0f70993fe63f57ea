"""A small gallery and what the flows make of it: written and ingested once, copied for every change."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.flows import toy
from tests.flows.databases import Postgres, a_postgres
from tests.flows.serving import Up, until

if TYPE_CHECKING:
    from storage.snapshot import Snapshot
    from storage.store import Store

SEED, PICTURES, HELD_OUT = 5, 200, 20
MILLRACE = [sys.executable, "-m", "flows.cli"]

CONFIG = f"""\
[store]
path = "store"
[run]
runner = "threads"
[fetch]
allow = ["127.0.0.0/8"]  # where its pictures are served
per_host = 8

[[sources]]
use = "sources.folder"
name = "folder"
path = "data/folder"
shard_rows = 30
[[sources]]
use = "sources.webdataset"
name = "tars"
path = "data/tars/*.tar"
[[sources]]
use = "sources.url_list"
name = "urls"
path = "data/urls.csv"
base_url = "{{base_url}}"
[[sources]]
use = "sources.folder"
name = "heldout"
path = "data/heldout"
held_out = true

[[annotators]]
use = "annotators.perceptual_hash"
[[annotators]]
use = "annotators.contact_details"

[[filters]]
use = "filters.size"
width = 16
[[filters]]
use = "filters.aspect_ratio"
[[filters]]
use = "filters.caption_length"
min_words = 2
[[filters]]
use = "filters.contact_details"

[[gathers]]
use = "gathers.near_duplicates"
[[gathers]]
use = "gathers.decontaminate"

{toy.tokenizers(512, 5)}[train]
steps = 60
threads = 1
checkpoint_every = 5
log_every = 5
{toy.NETWORK}[train.batch]
rows = 2
row_length = 128
"""


@dataclass(frozen=True)
class Mill:
    """A project of a user: its data, its configuration, its store."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "millrace.toml"

    def ingest(self) -> dict[str, Any]:
        """Runs the flow in this process, against the session's API."""
        from flows import ingest

        return ingest.start(str(self.config))

    def store(self) -> Store:
        from storage.store import Store

        return Store.open(self.path / "store", create=False)

    def snapshot(self) -> Snapshot:
        from storage.snapshot import Snapshot

        return Snapshot.open(self.store())

    def change(self, old: str, new: str) -> None:
        """Edits the configuration."""
        text = self.config.read_text()
        assert text.count(old) == 1, old
        self.config.write_text(text.replace(old, new))

    def add_noise(self, seed: int) -> None:
        """One more picture in its folder, which nobody has seen, and its caption."""
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(self.path / f"data/folder/noise-{seed}.png")
        told = {
            "file": f"noise-{seed}.png",
            "text": f"noise of seed {seed}",
            "lang": "en",
            "licence": "CC0-1.0",
        }
        with (self.path / "data/folder/captions.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(told) + "\n")

    def sql(self, query: str) -> list[tuple]:
        with self.store().connect() as db:
            return db.sql(query).fetchall()

    def copy(self, path: Path) -> Mill:
        return Mill(Path(shutil.copytree(self.path, path)))


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    """Data and configuration, nothing ingested; its pictures are served while the session lasts."""
    from pipeline.gallery.server import serve
    from pipeline.gallery.writer import write

    mill = Mill(tmp_path_factory.mktemp("gallery"))
    corpus = write(mill.path / "data", SEED, PICTURES, HELD_OUT)
    with serve(corpus.path) as base_url:
        mill.config.write_text(CONFIG.format(base_url=base_url))
        yield mill


@pytest.fixture(scope="session")
def milled(gallery: Mill, tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Mill:
    """The gallery, ingested: to be read, not to be changed."""
    mill = gallery.copy(tmp_path_factory.mktemp("milled") / "project")
    mill.ingest()
    return mill


@pytest.fixture
def fresh(gallery: Mill, tmp_path: Path, prefect_api: str) -> Mill:
    """A copy of the gallery to ingest."""
    return gallery.copy(tmp_path / "fresh")


@pytest.fixture
def mill(milled: Mill, tmp_path: Path) -> Mill:
    """A copy of the ingested gallery to change."""
    return milled.copy(tmp_path / "mill")


@dataclass
class Command:
    """A command that was started with a mark in its environment, which all its descendants carry."""

    line: Sequence[str]
    folder: Path
    own_server: bool = False
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    earlier: int = 0

    def start(self) -> Command:
        env = {**os.environ, "MILLRACE_TEST": self.mark, "MILLRACE_HOME": str(self.folder)}
        env["PYTHONPATH"] = str(Path(__file__).parents[2])
        if self.own_server:
            env.pop("PREFECT_API_URL", None)
            env["PREFECT_HOME"] = str(self.folder / ".prefect")
        with (self.folder / "out.txt").open("wb") as out, (self.folder / "err.txt").open("ab") as err:
            self.earlier = err.tell()  # what other commands said in this folder
            self.process = subprocess.Popen(self.line, cwd=self.folder, env=env, stdout=out, stderr=err)
        return self

    def said(self) -> str:
        errors = (self.folder / "err.txt").read_bytes()[self.earlier :]
        return (self.folder / "out.txt").read_text() + errors.decode()

    def answer(self) -> Any:
        """The JSON document that it printed."""
        return json.loads((self.folder / "out.txt").read_text())

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait(self, seconds: float = 240) -> None:
        """Waits for success."""
        assert self.process.wait(seconds) == 0, self.said()

    def kill(self) -> None:
        """kill -9 on the command alone: what it started has to notice by itself."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def family(self) -> list[int]:
        """Processes that carry the mark."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._carries(pid)]

    def _carries(self, pid: int) -> bool:
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return self.mark.encode() in environ and state != "Z"

    def gone(self, seconds: float = 30) -> bool:
        """Whether all of the family has ended, or does within some seconds."""
        return until(lambda: not self.family(), seconds)


@contextmanager
def processes() -> Iterator[Callable[..., Command]]:
    """Starts processes in a project's folder; whatever is left of them at the end is ended."""
    started: list[Command] = []

    def start(mill: Mill, *line: str, own_server: bool = False) -> Command:
        started.append(Command(line, mill.path, own_server).start())
        return started[-1]

    yield start
    for one in started:
        for pid in one.family():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def process() -> Iterator[Callable[..., Command]]:
    """Starts a process that ends with the test."""
    with processes() as start:
        yield start


@pytest.fixture(scope="module")
def lasting() -> Iterator[Callable[..., Command]]:
    """Starts `millrace …` for all tests of a file."""
    with processes() as start:
        yield lambda mill, *arguments, **more: start(mill, *MILLRACE, *arguments, **more)


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """An empty one."""
    with a_postgres() as made:
        yield made


@pytest.fixture
def up(command: Callable[..., Command]) -> Callable[[Mill], Up]:
    """Starts `millrace up`."""

    def start(mill: Mill) -> Up:
        from flows.server import free_port

        port = free_port()
        return Up(command(mill, "up", "--port", str(port), own_server=True), port, until)

    return start


@pytest.fixture
def command(process: Callable[..., Command]) -> Callable[..., Command]:
    """Starts `millrace …` in a project's folder."""
    return lambda mill, *arguments, **more: process(mill, *MILLRACE, *arguments, **more)


@pytest.fixture
def wait_until() -> Callable[..., bool]:
    return until


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Mill:
    """A small corpus of its own, ingested, and trained on halfway: to be read, not to be changed."""
    from flows.config import read
    from flows.train import run_name
    from model.train import Stopped, train
    from tests.flows import guests

    mill = Mill(tmp_path_factory.mktemp("guests") / "mill")
    guests.write(mill.path)
    mill.ingest()
    config, stops = read(mill.config), iter([False] * 7 + [True] * 100)
    with pytest.raises(Stopped):
        name = run_name(config, mill.snapshot())
        train(mill.store(), mill.snapshot(), config.train, run_id=name, stop=lambda: next(stops))
    return mill
