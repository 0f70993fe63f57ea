"""The examples that learn classes from few labels bring in a part of their data, train, and are scored by accuracy."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import ablate, evaluate, ingest, train
from flows.config import read
from storage.store import Store

ROOT = Path(__file__).parents[2]
PARTS = {"mnist": ("key", 200, 10), "banking77": ("text", 10, 77)}
"""By which column one in so many rows is taken, and how many classes there are."""
SMALL = {
    r"(?m)^seconds = .*$": "",
    r"(?m)^workers.*$|^runner.*$": "",
    r"(?m)^\[train\]$": "[train]\nsteps = 4",
    r"(?m)^size = 28\nsteps = \d+\nleast_psnr = \d+$": (
        "size = 28\nsteps = 4\nwidth = 8\nthreads = 1\nleast_psnr = 0\nleast_usage = 0"
    ),
}


@pytest.fixture
def part(
    real_data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Writes an example's configuration, cut down to some rows and a few steps."""

    def write(name: str) -> Path:
        folder = real_data("mnist" if name == "mnist" else "text-classification")
        monkeypatch.setenv("MILLRACE_REAL_DATA", str(folder.parent))
        monkeypatch.setenv("MNIST", str(tmp_path / "mnist.parquet"))
        if name == "mnist":
            script = [sys.executable, str(ROOT / "examples/mnist.py")]
            subprocess.run([*script, str(folder / "mnist.npz"), str(tmp_path / "mnist.parquet")], check=True)
        text = (ROOT / f"examples/{name}.toml").read_text(encoding="utf-8")
        column, one_in, _ = PARTS[name]
        text, changed = re.subn(
            r"(split = '(?:train|test)')", rf"\1 AND md5_number_lower({column}) % {one_in} = 0", text
        )
        assert changed == 2
        for pattern, instead in SMALL.items():
            text = re.sub(pattern, instead, text)
        path = tmp_path / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("name", PARTS)
def test_it_ingests_trains_and_is_scored(name: str, part: Callable[[str], Path], prefect_api: Any) -> None:
    path = part(name)
    done = ingest.start(str(path))
    assert done["kept"] > 0.9 * done["came_in"] > 200
    step = train.start(str(path))["step"]
    found = {s["metric"]: s for s in evaluate.start(str(path))["scores"] if s["task"] == "label"}
    assert step == 4 and 0 <= found["accuracy"]["value"] <= 1
    store = Store.open(path.parent / "stores" / name, create=False)
    with store.connect() as db:
        held, classes = db.sql(
            "SELECT count(*), count(DISTINCT label) FROM samples JOIN members USING (sample_id) WHERE split = 'test'"
        ).fetchall()[0]
    assert found["accuracy"]["n"] == held > 20 and classes <= PARTS[name][2]
    logged = {row["name"] for row in store.read("metrics").to_pylist()}
    assert "loss_label" in logged


@pytest.mark.parametrize("name", PARTS)
def test_its_variants_differ_in_objectives_alone(name: str, part: Callable[[str], Path]) -> None:
    config = read(part(name))
    found = ablate.ways(config)
    assert len(found) == 6
    plain = {way.train.model_copy(update={"objectives": None}).model_dump_json() for way in found.values()}
    assert len(plain) == 1
    asked = [way.train.objectives for way in found.values()]
    assert len({one.label.per_class for one in asked}) == 2
    ways = sorted((one.label.per_class, one.adversarial.weight, one.adversarial.direction) for one in asked)
    few, many = sorted({one.label.per_class or 0 for one in asked})
    assert ways == [
        (n, w, d) for n in (few, many) for w, d in ((0, "adversarial"), (1, "adversarial"), (1, "random"))
    ]
