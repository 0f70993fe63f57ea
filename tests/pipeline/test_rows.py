"""One cell, several texts: a list gives a row for each, and so does an object of texts by language."""

from __future__ import annotations

import json
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.rows import as_texts
from pipeline.sources.parquet import Parquet
from pipeline.sources.webdataset import WebDataset
from pipeline.step import RAW, Source

WORDS = {"en": "bear", "zh_CN": "熊", "ca@valencia": "ós", "pl": None}
ROWS = [("en", "bear"), ("zh-CN", "熊"), ("ca-valencia", "ós")]


def read(source: Source) -> list[dict[str, Any]]:
    known = pa.schema([("origin", pa.string()), ("version", pa.string())]).empty_table()
    return [
        row for shard in source.shards(known) for batch in source.read(shard) for row in batch.to_pylist()
    ]


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        (WORDS, ROWS),
        (list(WORDS.items()), ROWS),
        ([list(pair) for pair in WORDS.items()], ROWS),
        (["a", "b"], [(None, "a"), (None, "b")]),
        (("a",), [(None, "a")]),
        ("a", [(None, "a")]),
        (None, [(None, None)]),
        ([], [(None, None)]),
        ({"en": None}, [(None, None)]),
        ({"text": "a", "score": "1"}, [(None, {"text": "a", "score": "1"})]),
        ({"en": 3}, [(None, {"en": 3})]),
        ({}, [(None, {})]),
        ([["text", "a"]], [(None, ["text", "a"])]),
        ([[["en"], "a"]], [(None, [["en"], "a"])]),
    ],
)
def test_texts_of_a_cell(cell: Any, texts: list) -> None:
    assert as_texts(cell) == texts


def test_a_tar_with_captions_by_language_gives_a_row_for_each(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, body in (
            ("0.png", b"picture"),
            ("0.txt", b"bear"),
            ("0.json", json.dumps({"captions": WORDS}).encode()),
        ):
            header = tarfile.TarInfo(name)
            header.size = len(body)
            tar.addfile(header, BytesIO(body))
    rows = read(WebDataset(path=str(tmp_path / "a.tar"), lang="xx"))
    assert [(row["lang"], row["text"].decode()) for row in rows] == ROWS
    assert {row["image"] for row in rows} == {b"picture"}
    assert len({(row["origin"], row["position"]) for row in rows}) == 3


@pytest.mark.parametrize(
    "kind", [pa.struct([(lang, pa.string()) for lang in WORDS]), pa.map_(pa.string(), pa.string())]
)
def test_a_parquet_cell_with_captions_by_language_gives_a_row_for_each(
    tmp_path: Path, kind: pa.DataType
) -> None:
    """Also where a key comes again: its positions go on after the first one's."""
    words = WORDS if pa.types.is_struct(kind) else list(WORDS.items())
    table = pa.table(
        {
            "key": ["a", "a", "b"],
            "image": pa.array([b"1", b"2", b"3"], pa.binary()),
            "captions": pa.array([words, words, words], kind),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read(Parquet(path=str(tmp_path / "a.parquet"), shard_rows=2))
    assert [(row["lang"], row["text"].decode()) for row in rows] == ROWS * 3
    assert [(row["origin"], row["position"]) for row in rows] == [
        *(("a", n) for n in range(6)),
        *(("b", n) for n in range(3)),
    ]
    assert set(rows[0]) == set(RAW.names)


def test_a_password_in_a_listed_url_is_not_stored(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    url, page = "https://ann:secret@h.example/a.png", "//ann:secret@h.example/a@b"
    pq.write_table(pa.table({"text": ["a"], "url": [url], "page_url": [page]}), path)
    [row] = read(Parquet(path=str(path)))
    assert (row["url"], row["page_url"]) == ("https://h.example/a.png", "//h.example/a@b")
