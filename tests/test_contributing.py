"""The examples in CONTRIBUTING.md work as they stand: each is written where it says, loaded and used."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image

import flows
from flows import deployments
from pipeline.step import Annotator, Filter, Gather, Shard, Source, load
from storage import tables
from storage.store import Store

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def blocks(heading: str, language: str = "python") -> list[str]:
    """Code blocks below a heading."""
    section = re.split(r"^## ", TEXT.partition(f"## {heading}\n")[2], flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folders beside those of `pipeline` and `flows`, whose modules are part of them while the test lasts."""
    known = set(sys.modules)
    for package in (
        flows,
        *(
            importlib.import_module(f"pipeline.{room}")
            for room in ("annotators", "filters", "gathers", "sources")
        ),
    ):
        folder = tmp_path / package.__name__.replace(".", "/")
        folder.mkdir(parents=True)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def step(rooms: Path, heading: str, path: str, kind: type) -> Any:
    """The example's class, from the file that it is said to be in."""
    (rooms / path).write_text(blocks(heading)[0])
    importlib.invalidate_caches()
    return load(path.removeprefix("pipeline/").removesuffix(".py").replace("/", "."), kind)


def test_the_filter(rooms: Path) -> None:
    [toml] = blocks("A filter", "toml")
    [settings] = tomllib.loads(toml)["filters"]
    found = step(rooms, "A filter", "pipeline/filters/min_width.py", Filter)
    assert load(settings.pop("use"), Filter) is found
    rows = pa.table({"original_width": [31, 32, None]})
    assert found(**settings).keep(rows).to_pylist() == [False, True, None]


TINY = """
[[sources]]
use = "sources.folder"
name = "pictures"
path = "pictures"

[tokens.text]
vocab_size = 300
[tokens.image]
steps = 2
width = 8
threads = 1
least_psnr = 0
least_usage = 0
"""
"""All else that a configuration needs, small enough for a test."""


@pytest.mark.slow
def test_the_filter_in_a_real_ingest(tmp_path: Path, prefect_api: str) -> None:
    """As a contributor would: the file into a copy of the project, the lines into the TOML, and `millrace ingest`."""
    for room in ("storage", "pipeline", "model", "flows", "dashboards"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pipeline/filters/min_width.py").write_text(blocks("A filter")[0])
    (tmp_path / "millrace.toml").write_text(TINY + blocks("A filter", "toml")[0])
    (tmp_path / "pictures").mkdir()
    rng, narrow = np.random.default_rng(0), set[str]()
    for at in range(12):
        width = 24 if at % 3 == 0 else 40
        narrow |= {f"{at}.png"} if width == 24 else set()
        pixels = rng.integers(0, 256, (40, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"pictures/{at}.png")
        (tmp_path / f"pictures/{at}.txt").write_text(f"picture number {at} of the contributor")
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "ingest", "--config", "millrace.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PREFECT_API_URL": prefect_api},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with Store.open(tmp_path / "store", create=False).connect() as db:
        query = (
            "SELECT origin, kept, reason FROM decisions JOIN samples USING (sample_id) WHERE stage = 'filter'"
        )
        decided = {origin: (kept, reason) for origin, kept, reason in db.sql(query).fetchall()}
    assert decided == {
        f"{at}.png": (False, "narrow") if f"{at}.png" in narrow else (True, None) for at in range(12)
    }


def test_the_annotator(rooms: Path) -> None:
    found = step(rooms, "An annotator", "pipeline/annotators/word_count.py", Annotator)
    assert all((column.metadata or {}).get(b"doc") for column in found.columns)
    made = found().annotate(pa.table({"sample_id": ["a", "b"], "text": ["a red  circle", None]}), {})
    assert made.select(found.columns.names).schema.types == found.columns.types
    assert made.to_pylist() == [{"sample_id": "a", "words": 3}, {"sample_id": "b", "words": None}]


def test_the_source(rooms: Path, tmp_path: Path) -> None:
    found = step(rooms, "A source", "pipeline/sources/lines.py", Source)
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    lines = found(path=str(tmp_path / "lines.txt"))
    [shard] = lines.shards(pa.table({}))
    assert isinstance(shard, Shard)
    [rows] = lines.read(shard)
    assert rows["text"].to_pylist() == [b"one", b"two"]


def test_the_gather(rooms: Path) -> None:
    found = step(rooms, "A gather", "pipeline/gathers/same_text.py", Gather)
    with duckdb.connect() as db:
        db.sql("CREATE TABLE samples AS FROM (VALUES ('a', 'x'), ('b', 'x'), ('c', NULL)) t(sample_id, text)")
        db.sql("CREATE VIEW candidates AS SELECT sample_id FROM samples")
        decisions = found().gather(db).decisions.to_pylist()
    assert [(row["sample_id"], row["kept"], row["reason"]) for row in decisions] == [
        ("a", True, None), ("b", False, "same_text"), ("c", True, None),
    ]  # fmt: skip


def test_the_table(rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, migration = (value(rooms, code) for code in blocks("A table"))
    assert migration.to == tables.SCHEMA_VERSION
    assert all(column.doc for column in table.columns)
    monkeypatch.setitem(tables.TABLES, table.name, table)
    store = Store.open(tmp_path / "store")
    store.append("ratings", pa.table({"image_id": ["i"], "rater": ["me"], "rating": [5]}), parts=["survey-1"])
    with store.connect() as db:
        assert db.sql("SELECT rater, rating, part FROM ratings").fetchall() == [("me", 5, "survey-1")]


def value(rooms: Path, code: str) -> Any:
    """What an entry of a list is, in a module with the names of the files that hold the lists."""
    names = "".join(
        f"from {room} import *\n" for room in ("storage.tables", "storage.migrations", "flows.deployments")
    )
    name = f"entry_{len(list((rooms / 'flows').iterdir()))}"
    (rooms / "flows" / f"{name}.py").write_text(f"{names}\nMADE = {code}")
    importlib.invalidate_caches()
    return importlib.import_module(f"flows.{name}").MADE


def test_the_deployment(rooms: Path) -> None:
    module, line = blocks("A deployment")
    (rooms / "flows/tidy.py").write_text(module)
    importlib.invalidate_caches()
    made = value(rooms, line)
    flow = deployments.flow_of(made)
    assert flow.name == made.name
    assert all(field.get("description") for field in flow.parameters.properties.values())
    [pooled] = blocks("A deployment", "yaml")
    same = yaml.safe_load((ROOT / "prefect.yaml").read_text() + pooled)["deployments"][-1]
    assert (same["name"], same["entrypoint"], same["description"]) == (made.name, made.flow, made.about)
    assert same["schedules"] == [{"cron": made.cron, "active": made.active}]
