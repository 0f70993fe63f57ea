"""Drawn pictures held against their captions: the example, cut down, trains a moment, draws, and is judged."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows import drawing, evaluate, ingest, tasks, train
from flows.config import read
from storage.snapshot import Snapshot
from storage.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLE = Path(__file__).parents[2] / "examples/drawing.toml"
PICTURES, HELD_OUT, DRAWN = 120, 40, 6
SMALL = {
    r"(?m)^size = .*$": f"size = {PICTURES}",
    r"(?m)^heldout = .*$": f"heldout = {HELD_OUT}",
    r"(?m)^steps = .*$": "steps = 5\nwidth = 8",
    r"(?m)^least_(psnr|usage) = .*$": r"least_\1 = 0",
    r"(?m)^seconds = 3000$": "steps = 3",
    r"(?m)^drawn = .*$": f"drawn = {DRAWN}",
    r"(?m)^guidances = .*$": "guidances = [3.0]",
    r"(?m)^max_items = .*$": "max_items = 2\npictures = 0",
    r"(?m)^\[train.batch\]$": "[train.model]\nwidth = 16\ndepth = 1\nheads = 2\nkv_heads = 1\nhidden = 32\n[train.batch]",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, prefect_api: Any) -> Path:
    text = EXAMPLE.read_text(encoding="utf-8")
    for pattern, instead in SMALL.items():
        text, changed = re.subn(pattern, instead, text)
        assert changed, pattern
    path = tmp_path_factory.mktemp("drawing") / "drawing.toml"
    path.write_text(text, encoding="utf-8")
    ingest.start(str(path))
    train.start(str(path))
    return path


def test_each_guidance_is_judged_beside_real_reconstructed_and_shuffled_pictures(config: Path) -> None:
    found = [one for one in evaluate.start(str(config))["scores"] if one["task"] == drawing.TASK]
    told = {(one["metric"], one["subset"]) for one in found}
    for name in ("shape", "colour", drawing.ALL):
        for prefix in ("", "real_", "reconstructed_", "shuffled_"):
            assert (prefix + name, "all") in told
        assert (name, "guidance 3") in told
    assert all(one["n"] == DRAWN for one in found if one["subset"] == "all")
    assert all(0 <= one["low"] <= one["value"] <= one["high"] <= 1 for one in found)


def test_the_judge_learns_from_all_real_pictures_but_those_it_judges(config: Path) -> None:
    asked = read(config)
    store = Store.open(config.parent / "stores/drawing", create=False)
    snapshot = Snapshot.open(store, "latest")
    given = (snapshot, asked.evaluate, evaluate.parser(asked))
    judged, known = drawing.to_judge(*given), drawing.to_learn(*given)
    assert len(judged) == DRAWN
    ids = {row["image_id"] for row in known}
    assert not ids & {row["image_id"] for row in judged}
    assert len(ids) == len(known) > PICTURES // 2
    assert any(row["attributes"]["unseen"] for row in known), "things that training never shows are told, too"


def test_what_was_drawn_is_kept_and_can_be_judged_again(config: Path) -> None:
    done = tasks.start(str(config), "latest", ["text_to_image", "caption", "memorisation"])
    [agreed] = [s for s in done["scores"] if (s["metric"], s["subset"]) == ("agreement", "all")]
    store = Store.open(config.parent / "stores/drawing", create=False)
    kept = [row for row in store.read("answers").to_pylist() if row["evaluation_id"] == agreed["evaluation"]]
    assert len(kept) == DRAWN
    asked = read(config)
    parse = evaluate.parser(asked)
    shown = np.stack([picture(row["output"]) for row in kept])
    judge = drawing.ready(store, Snapshot.open(store, "latest"), asked.evaluate, parse, shown.shape[1])
    wanted = [parse(row["expected"]) for row in kept]
    again = judge.agrees(shown, wanted, "shape") & judge.agrees(shown, wanted, "colour")
    assert again.mean() == agreed["value"]
    assert again.tolist() == [json.loads(row["scores"])["agreement"] == 1 for row in kept]
    repeated = [row for row in store.read("answers").to_pylist() if row["part_of"] == "picture"]
    assert repeated and all(picture(row["output"]).shape == shown.shape[1:] for row in repeated)


def picture(url: str) -> np.ndarray:
    """The pixels of a PNG in a `data:` URL."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
