"""Tokenizers are fitted on allowed rows only, say what they were judged on, and are named durably."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows import ingest, tokenizers
from flows.config import read
from storage.errors import LicenceNotAllowed
from storage.snapshot import Snapshot
from storage.store import Store
from tests.flows import toy

CONFIG = f"""\
[[sources]]
use = "sources.folder"
name = "pictures"
path = "pictures"
[splits]
validation = 0.0
test = 0.0
[licences]
allow = ["CC0-1.0"]
{toy.tokenizers(300, 2)}"""
FILTER = """\
[[filters]]
use = "filters.licence"
allow = ["CC0-1.0"]
"""


@pytest.fixture
def config(tmp_path: Path, prefect_api: str) -> Path:
    """Six pictures, one of them under a licence that is not allowed; nothing is ingested, nothing held out."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with (folder / "captions.jsonl").open("w") as lines:
        for i in range(6):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{i}.png")
            licence = "CC-BY-NC-4.0" if i == 3 else "CC0-1.0"
            lines.write(json.dumps({"file": f"{i}.png", "text": f"noise {i}", "licence": licence}) + "\n")
    path = tmp_path / "millrace.toml"
    path.write_text(CONFIG)
    return path


def test_nothing_is_fitted_on_a_licence_that_is_not_allowed_and_a_filter_drops_it(config: Path) -> None:
    with pytest.raises(LicenceNotAllowed, match=r"CC-BY-NC-4.0 \(1 rows\).*filters\.licence"):
        ingest.start(str(config))
    store = Store.open(config.parent / "store", create=False)
    assert os.listdir(store.folder("tokenizers")) == []
    assert store.version("snapshots") == -1
    config.write_text(CONFIG + FILTER)
    assert ingest.start(str(config))["kept"] == 5
    assert Snapshot.open(store).licences == {"CC0-1.0": 5}
    with store.connect() as db:
        dropped = db.sql(
            "SELECT origin, stage, reason FROM decisions JOIN samples USING (sample_id) WHERE NOT kept"
        )
        assert dropped.fetchall() == [("3.png", "filter", "licence")]


def test_a_fit_without_held_out_pictures_says_so_and_is_named_after_it_is_on_the_disk(
    config: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(CONFIG + FILTER)
    ingest.start(str(config))
    assert "fitted on, since none is held out" in capsys.readouterr().err
    happened: list[tuple[str, str]] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: happened.append(("sync", named(fd))) or sync(fd))
    monkeypatch.setattr(
        Path, "replace", lambda path, to: happened.append(("replace", path.name)) or replace(path, to)
    )
    settings = read(config)
    tokenizers.ready(Store.open(settings.store.path, create=False), settings, refit=True)
    [scratch] = [name for what, name in happened if what == "replace" and "current.json" in name]
    assert happened.index(("sync", scratch)) < happened.index(("replace", scratch))


def named(fd: int) -> str:
    """Name of an open file."""
    return Path(os.readlink(f"/proc/self/fd/{fd}")).name


def test_texts_alone_need_no_picture_and_the_first_pictures_are_what_the_image_tokenizer_is_fitted_on(
    config: Path,
) -> None:
    texts = config.parent / "texts.parquet"
    pq.write_table(pa.table({"key": ["a", "b"], "text": ["One story.", "Another."]}), texts)
    stories = (
        '[[sources]]\nuse = "sources.parquet"\nname = "texts"\npath = "texts.parquet"\nlicence = "CC0-1.0"\n'
    )
    both = CONFIG + FILTER + stories
    config.write_text(both.replace(both[: both.index("[splits]")], ""))
    assert ingest.start(str(config))["kept"] == 2
    current = config.parent / "store" / "tokenizers" / tokenizers.CURRENT
    before = json.loads(current.read_text())
    config.write_text(both)
    assert ingest.start(str(config))["kept"] == 7
    after = json.loads(current.read_text())
    assert (before["blank"], after["blank"]) == (True, False)
    assert before["image"] != after["image"] and before["text"] == after["text"]
    store = Store.open(config.parent / "store", create=False)
    assert Snapshot.open(store).image_tokenizer == after["image"]
