"""A corpus of one's own, from a clone: the README's steps to the letter, and the configuration that is shipped."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.config import read
from pipeline.gallery.pictures import encoded
from pipeline.gallery.texts import rows
from pipeline.sources.gallery import Gallery
from storage.snapshot import Snapshot
from storage.store import Store

ROOT = Path(__file__).parents[2]
PICTURES = 50
SCRIPT = """\
set -eu
millrace() { "$PYTHON" -m flows.cli "$@"; }
"""
ELSEWHERE = (
    "make setup",
    ". .venv/",
    "millrace up",
    "millrace serve",
    "millrace dashboard",
    "millrace compare --openai",
)
"""Run by test_up, test_serve, test_dashboard and test_endpoint."""
SHORT = """
sed -i 's/^seconds = .*/steps = 20/' birds.toml
"""


def steps() -> list[str]:
    """The README's commands for one's own folder, but for the ones that do not end, or need a .venv or another's server."""
    text = (ROOT / "README.md").read_text("utf-8")
    [block] = re.findall(r"^## Your own folder of pictures\n+```sh\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    lines = [line.partition("   #")[0].strip() for line in block.splitlines()]
    return [line for line in lines if not line.startswith(ELSEWHERE)]


def clone(folder: Path) -> Path:
    """What of a clone a command sees, with a home that has a folder of drawn birds."""
    shutil.copy(ROOT / "millrace.toml", folder)
    birds = folder / "Pictures/birds"
    birds.mkdir(parents=True)
    for picture in [one for one in Gallery(size=100).pictures() if one.kind == "clean"][:PICTURES]:
        (birds / f"{picture.name}.png").write_bytes(encoded(picture, 0))
        (birds / f"{picture.name}.txt").write_text(rows(picture, 0)[0].text)
    shutil.copy(next(birds.glob("*.png")), folder / "bird.jpg")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_steps_of_the_readme_hold_on_a_small_folder(tmp_path: Path, prefect_api: str) -> None:
    """With the settings that `init` writes, but for the seconds of training."""
    found = steps()
    assert found[0] == "export MILLRACE_CONFIG=birds.toml"
    assert found[1].startswith("millrace init ~/Pictures/birds")
    assert sum(line.startswith("millrace ") for line in found) >= 8
    script = SCRIPT + "\n".join(found[:2]) + SHORT + "\n".join(found[2:])
    home = clone(tmp_path)
    env = {**os.environ, "HOME": str(home), "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=home, env=env, capture_output=True, text=True, timeout=840
    )
    assert done.returncode == 0, done.stdout + done.stderr
    store = Store.open(home / "stores/birds", create=False)
    snapshot = Snapshot.open(store)
    assert snapshot.licences == {"CC-BY-4.0": snapshot.rows}
    assert snapshot.rows > 0.9 * PICTURES
    assert snapshot.samples("test").num_rows > 0
    assert (home / "drawn.png").stat().st_size > 0
    assert (store.folder("reports") / "report.html").is_file()


def test_the_shipped_configuration_needs_no_file(tmp_path: Path) -> None:
    config = read(shutil.copy(ROOT / "millrace.toml", tmp_path))
    assert [source.held_out for source in config.sources] == [False, True]
    for step in config.source_steps.values():
        [shard] = step.shards(None)  # type: ignore[union-attr, list-item, misc, arg-type]
        first = next(iter(step.read(shard)))  # type: ignore[union-attr]
        assert first.num_rows > 0
        assert config.licences.allow is not None
        assert set(first["licence"].to_pylist()) <= set(config.licences.allow)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_shipped_configuration_ingests(tmp_path: Path, prefect_api: str) -> None:
    from flows import ingest

    config = Path(shutil.copy(ROOT / "millrace.toml", tmp_path))
    done = ingest.start(str(config))
    assert 0 < done["kept"] < done["came_in"]
    with Store.open(tmp_path / "gallery", create=False).connect() as db:
        assert db.sql("SELECT DISTINCT adds_up FROM funnel_check").fetchall() == [(True,)]


def test_what_millrace_makes_in_a_clone_is_ignored_and_cleaned() -> None:
    if shutil.which("git") is None:
        pytest.skip("no git")
    made = ["demo/", "demo-full/", "gallery/"]
    ignored = subprocess.run(
        ["git", "check-ignore", *made, "stores/", "store/"], cwd=ROOT, capture_output=True, text=True
    )
    if ignored.returncode == 128:
        pytest.skip("not a git checkout")
    assert ignored.stdout.split() == [*made, "stores/", "store/"]
    [rule] = re.findall(r"^clean:.*\n\t(.*)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    removed = rule.split()
    assert {one.rstrip("/") for one in made} <= set(removed)
    assert not {"store", "stores"} & set(removed), "the stores of one's own data stay"
