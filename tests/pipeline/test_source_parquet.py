"""The Parquet source: bytes or structs, row groups of any size, queries that reach their files only."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.records import SourceError
from pipeline.sources.parquet import Parquet
from pipeline.step import RAW

NOTHING = pa.table({"origin": pa.array([], pa.string()), "version": pa.array([], pa.string())})
JOIN = """SELECT image_id || ':' || q.number AS key, image, question AS prompt, answer AS text
    FROM images JOIN questions q USING (image_id)"""


def picture(colour: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), (colour, 9, 9)).save(out, "PNG")
    return out.getvalue()


def write(path: Path, rows_in_group: int | None = None, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=rows_in_group)
    return path


def rows(path: Path | str, **options: Any) -> list[dict[str, Any]]:
    source = Parquet(path=str(path), **options)
    found = [batch for shard in source.shards(NOTHING) for batch in source.read(shard)]
    assert all(batch.schema.equals(RAW) for batch in found)
    return pa.Table.from_batches(found, RAW).to_pylist()


def identities(found: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(r["origin"], r["position"]) for r in found]


def test_pictures_as_bytes_and_their_texts(tmp_path: Path):
    path = write(
        tmp_path / "p.parquet", image=[picture(1), None], caption=["one", "two"], license=["MIT", None]
    )
    found = rows(path, licence="CC0-1.0", task="caption")
    assert identities(found) == [("p.parquet#0", 0), ("p.parquet#1", 0)]
    assert [(r["image"], r["text"], r["licence"], r["task"]) for r in found] == [
        (picture(1), b"one", "MIT", "caption"),
        (None, b"two", "CC0-1.0", "caption"),
    ]


def test_the_hugging_face_struct(tmp_path: Path):
    image = [{"bytes": picture(), "path": "a.png"}, {"bytes": None, "path": "b.png"}, None]
    found = rows(write(tmp_path / "p.parquet", image=image, text=["a", "b", "c"]))
    assert [(r["image"], r["error"]) for r in found] == [
        (picture(), None),
        (None, "missing_file"),
        (None, None),
    ]


@pytest.mark.parametrize("rows_in_group", [1, 3, 7, 20, 50])
@pytest.mark.parametrize("shard_rows", [1, 4, 10, 1024])
def test_row_groups_of_any_size_give_each_row_once(tmp_path: Path, rows_in_group: int, shard_rows: int):
    path = write(tmp_path / "p.parquet", rows_in_group, text=[f"row {n}" for n in range(50)])
    shards = list(Parquet(path=str(path), shard_rows=shard_rows).shards(NOTHING))
    assert sum(shard.rows or 0 for shard in shards) == 50
    assert max(shard.rows or 0 for shard in shards) <= max(shard_rows, 1)
    assert len({shard.key for shard in shards}) == len(shards)
    found = rows(path, shard_rows=shard_rows)
    assert [r["text"] for r in found] == [b"row %d" % n for n in range(50)]
    assert identities(found) == [(f"p.parquet#{n}", 0) for n in range(50)]


def test_a_key_column_gives_the_origin_and_repeats_are_numbered(tmp_path: Path):
    write(tmp_path / "a.parquet", id=["x", "y", "x", None], text=["1", "2", "3", "4"])
    write(tmp_path / "b.parquet", id=["x"], text=["5"])
    for shard_rows in (1, 100):
        found = rows(tmp_path / "*.parquet", shard_rows=shard_rows)
        assert identities(found) == [("x", 0), ("y", 0), ("x", 1), ("a.parquet#3", 0), ("x", 2)]


def test_a_list_of_texts_is_several_rows(tmp_path: Path):
    path = write(tmp_path / "p.parquet", id=["x", "x"], captions=[["a", "b"], ["c"]])
    assert [(r["position"], r["text"]) for r in rows(path)] == [(0, b"a"), (1, b"b"), (2, b"c")]
    path = write(tmp_path / "q.parquet", captions=[["a", "b"], []])
    assert [(*i, r["text"]) for i, r in zip(identities(rows(path)), rows(path), strict=True)] == [
        ("q.parquet#0", 0, b"a"),
        ("q.parquet#0", 1, b"b"),
        ("q.parquet#1", 0, None),
    ]


def test_texts_that_are_not_utf8_come_through(tmp_path: Path):
    broken = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"\xff\xfe ok"]).buffers()[1:]])
    path = write(tmp_path / "p.parquet", text=broken, image=[picture()])
    (row,) = rows(path)
    assert row["text"] == b"\xff\xfe ok" and row["image"] == picture()


def test_a_picture_of_another_type_is_an_error_row(tmp_path: Path):
    path = write(tmp_path / "p.parquet", image=[7, 8], text=["a", "b"])
    assert [r["error"] for r in rows(path)] == ["bad_row", "bad_row"]
    path = write(tmp_path / "q.parquet", image=[b"x" * 100], text=["a"])
    assert rows(path, max_bytes=99)[0]["error"] == "too_large"


def test_files_are_known_again_wherever_they_lie(tmp_path: Path):
    path = write(tmp_path / "p.parquet", text=["a"])
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "p.parquet").write_bytes(path.read_bytes())
    keys = [
        [s.key for s in Parquet(path=str(p)).shards(NOTHING)] for p in (path, tmp_path / "copy" / "p.parquet")
    ]
    assert keys[0] == keys[1]
    write(path, text=["b"])
    assert [s.key for s in Parquet(path=str(path)).shards(NOTHING)] != keys[0]


def test_what_does_not_fit_is_explained(tmp_path: Path):
    path = write(tmp_path / "p.parquet", picture=[picture()], says=["a"])
    with pytest.raises(SourceError, match=r"neither a picture nor a text among picture, says"):
        rows(path)
    with pytest.raises(SourceError, match=r'no column "nope" for image; there are picture, says'):
        rows(path, columns={"image": "nope"})
    assert rows(path, columns={"image": "picture", "text": "says"})[0]["text"] == b"a"
    with pytest.raises(SourceError, match="no such file"):
        rows(tmp_path / "gone.parquet")
    path.write_bytes(b"PAR1 no parquet PAR1")
    with pytest.raises(SourceError, match=r"p\.parquet: not a readable Parquet file"):
        rows(path)


def test_a_damaged_row_group_costs_only_its_rows(tmp_path: Path):
    path = write(tmp_path / "p.parquet", 10, text=[f"a text that is not short {n}" for n in range(30)])
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    raw = bytearray(path.read_bytes())
    at = column.dictionary_page_offset or column.data_page_offset
    raw[at : at + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(raw)
    found = rows(path, shard_rows=10)
    assert len(found) == 30 and len(set(identities(found))) == 30
    assert [r["error"] for r in found] == [None] * 10 + ["unreadable"] * 10 + [None] * 10


# --- queries


@pytest.fixture
def two(tmp_path: Path) -> Path:
    write(
        tmp_path / "images.parquet",
        image_id=[f"i{n}" for n in range(6)],
        image=[picture(n) for n in range(6)],
    )
    write(
        tmp_path / "questions.parquet",
        image_id=[f"i{n % 5}" for n in range(20)],
        number=list(range(20)),
        question=[f"what is {n}?" for n in range(20)],
        answer=[f"it is {n}" for n in range(20)],
    )
    return tmp_path / "*.parquet"


@pytest.mark.parametrize("shard_rows", [1, 7, 1000])
def test_a_query_joins_pictures_and_questions(two: Path, shard_rows: int):
    found = rows(two, query=JOIN, shard_rows=shard_rows, task="vqa")
    assert len(found) == 20
    assert sorted(r["origin"] for r in found) == [r["origin"] for r in found]
    by_key = {r["origin"]: r for r in found}
    row = by_key["i3:13"]
    assert (row["image"], row["prompt"], row["text"], row["task"]) == (
        picture(3),
        "what is 13?",
        b"it is 13",
        "vqa",
    )


def test_rows_that_share_a_key_are_numbered_within_one_shard(two: Path):
    query = "SELECT image_id AS key, answer AS text FROM questions"
    for shard_rows in (1, 1000):
        found = rows(two, query=query, shard_rows=shard_rows)
        assert identities(found) == [(f"i{n}", p) for n in range(5) for p in range(4)]
    stated = rows(two, query="SELECT image_id AS key, answer AS text, number AS position FROM questions")
    assert [p for key, p in identities(stated) if key == "i2"] == [2, 7, 12, 17]


def test_the_order_in_which_a_query_comes_does_not_matter(two: Path):
    plain = rows(two, query="SELECT image_id AS key, answer AS text FROM questions")
    turned = rows(two, query="SELECT image_id AS key, answer AS text FROM questions ORDER BY random()")
    brief = [[(r["origin"], r["position"], r["text"]) for r in found] for found in (plain, turned)]
    assert brief[0] == brief[1]


def test_csv_and_jsonl_join_too(two: Path):
    folder = two.parent
    (folder / "names.csv").write_text("image_id,name\ni1,one\ni2,two\n")
    (folder / "langs.jsonl").write_text(
        '{"image_id": "i1", "lang": "en"}\n{"image_id": "i2", "lang": "de"}\n'
    )
    query = """SELECT image_id AS key, image, name AS text, lang
        FROM images JOIN names USING (image_id) JOIN langs USING (image_id)"""
    found = rows(folder / "*.*", query=query)
    assert [(r["origin"], r["text"], r["lang"]) for r in found] == [
        ("i1", b"one", "en"),
        ("i2", b"two", "de"),
    ]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT content AS text, filename AS key FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT '1' AS key, * FROM '{secret}'",
        "COPY images TO '{out}'",
        "SELECT 1 AS key, 2 AS text) TO '{out}'; --",
        "SELECT '1' AS key; DROP VIEW images",
        "SELECT '1' AS key, 'x' AS text); ATTACH '{out}' AS x; SELECT * FROM (SELECT 1",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "SELECT '1' AS key, 'x' AS text FROM glob('/etc/*')",
        "SELECT image FROM images",
        "SELECT nope FROM images",
        "SELECT NULL AS key, image FROM images",
        "",
        "oops",
    ],
)
def test_a_query_reads_its_files_and_does_nothing_else(two: Path, tmp_path_factory, query: str):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.csv").write_text("key,text\n1,secret\n")
    before = sorted(two.parent.iterdir())
    with pytest.raises(SourceError) as caught:
        rows(two, query=query.format(secret=outside / "secret.csv", out=outside / "out"))
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(two.parent.iterdir()) == before
    assert [p.name for p in outside.iterdir()] == ["secret.csv"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=9)), max_size=5),
    cut=st.integers(0, 3000),
)
def test_damaged_files_give_rows_or_a_clear_error(tmp_path: Path, edits, cut: int):
    path = write(
        tmp_path / "p.parquet", 3, image=[picture(n) for n in range(9)], text=[f"t{n}" for n in range(9)]
    )
    raw = bytearray(path.read_bytes())
    for at, content in edits:
        raw[at : at + len(content)] = content
    path.write_bytes(raw[:cut] if cut % 7 == 0 else raw)
    try:
        found = rows(path, shard_rows=4)
    except SourceError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert len(set(identities(found))) == len(found)
