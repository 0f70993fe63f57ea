"""A WebDataset tar as others make it: drawings with a word each, and the word in all languages beside it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from pipeline.sources.webdataset import WebDataset


@pytest.fixture(scope="module")
def tar(real_data: Callable[[str], Path]) -> Path:
    return real_data("web-library-inputs") / "webdataset" / "picture-words-000000.tar"


@pytest.fixture(scope="module")
def members(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def ingested(tar: Path, fresh_ingest: Callable[[], Any]) -> Any:
    ingest = fresh_ingest()
    assert ingest.run({"words": WebDataset(path=str(tar))}) > 0
    return ingest


def test_every_caption_of_every_language_is_a_row(ingested: Any, members: dict[str, bytes]) -> None:
    wanted = {
        (name.removesuffix(".json"), lang.replace("_", "-").replace("@", "-"), normalize("NFC", text))
        for name, body in members.items()
        if name.endswith(".json")
        for lang, text in json.loads(body)["captions"].items()
    }
    [(came_in, kept)] = ingested.adds_up().values()
    assert came_in == kept == len(wanted) > 2000
    rows = ingested.sql("SELECT split_part(origin, '#', 2), lang, text FROM samples")
    assert len(rows) == len(wanted)
    assert set(rows) == wanted


def test_every_drawing_is_stored_once_with_its_licence(ingested: Any, members: dict[str, bytes]) -> None:
    drawings = sum(name.endswith(".webp") for name in members)
    assert drawings == 60
    assert ingested.sql("SELECT count(*), count(DISTINCT image_id) FROM images") == [(drawings, drawings)]
    assert ingested.sql("SELECT DISTINCT licence FROM samples") == [("CC-BY-SA-3.0",)]
    assert ingested.sql("SELECT DISTINCT original_format FROM images") == [("webp",)]
    assert ingested.sql("SELECT DISTINCT original_mode FROM images ORDER BY 1") == [("RGB",), ("RGBA",)]


def test_rows_of_a_drawing_share_their_split(ingested: Any) -> None:
    splits = (
        "SELECT origin, count(DISTINCT split) AS n FROM samples JOIN splits USING (sample_id) GROUP BY origin"
    )
    assert ingested.sql(f"SELECT origin FROM ({splits}) WHERE n > 1") == []
