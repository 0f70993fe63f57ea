"""`millrace demo`, the main job, small: every part of it from drawing the corpus to asking the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
SOURCES = {"folder", "tars", "urls", "heldout"}


def millrace(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    """The command as a person starts it, with a Prefect server of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / ".prefect")}
    env.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=1000)


def answer(folder: Path, *arguments: object) -> Any:
    done = millrace(folder, *arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def test_the_main_job_from_nothing_to_a_model_that_answers(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = answer(tmp_path, "demo", "--path", folder, "--size", 600, "--seconds", 20)
    assert done["ingest"]["kept"] > 0
    with Store.open(folder / "store", create=False).connect() as db:
        check = db.sql("SELECT source, came_in, kept + dropped, adds_up FROM funnel_check").fetchall()
    assert {source for source, *_ in check} == SOURCES
    assert all(came_in == judged > 0 and adds_up for _, came_in, judged, adds_up in check), check

    planted = {row["kind"]: row for row in done["planted"]}
    for kind in ("exact_copy", "reencoded_copy"):
        assert planted[kind]["recall"] >= 0.99 and planted[kind]["precision"] >= 0.99, planted[kind]
    for kind in ("leaked_exact", "leaked_reencoded"):
        assert planted[kind]["planted"] > 0 and planted[kind]["recall"] == 1, planted[kind]

    scored = done["evaluate"]
    assert len(scored["examples"]) == 4
    assert all(one["expected"] for one in scored["examples"])
    assert {row["task"] for row in scored["scores"]} >= {"caption", "vqa"}
    listed = json.loads((Path(scored["pictures"]) / "pictures.json").read_text("utf-8"))
    assert listed
    assert all((Path(scored["pictures"]) / one["file"]).stat().st_size for one in listed)
    assert "Planted defects" in Path(done["report"]).read_text("utf-8")

    config = folder / "millrace.toml"
    picture = next((folder / "data/heldout").rglob("*.png"))
    said = answer(tmp_path, "generate", "--image", picture, "-c", config)
    assert said["answer"]
    drawn = tmp_path / "new" / "drawn.png"
    words = "two red circles above a blue star on a grey background"
    assert answer(tmp_path, "generate", words, "-o", drawn, "-c", config)["picture"] == str(drawn)
    assert drawn.read_bytes().startswith(b"\x89PNG")
