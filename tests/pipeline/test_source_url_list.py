"""The URL list source: any columns, relative URLs that keep their identity, every row accounted for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.records import SourceError
from pipeline.sources.url_list import UrlList
from pipeline.step import Shard
from pipeline.web.client import Web
from pipeline.web.settings import FetchSettings
from pipeline.web.source import Known
from storage import media
from storage.limits import Limits
from tests.serving import folder

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill


def picture(colour: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), (colour, 9, 9)).save(out, "PNG")
    return out.getvalue()


ASKED: list[str] = []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("served")
    for n in range(4):
        (root / f"{n}.png").write_bytes(picture(n))
    with folder(root, ASKED.append) as url:
        yield url + "/"


def source(path: Path, **options: Any) -> UrlList:
    return UrlList(path=str(path), **options)


def shards(urls: UrlList) -> list[Shard]:
    """What it lists when nothing is known; it needs no network for that."""
    return list(urls.shards(Known(), Web()))


def image_id(colour: int) -> str:
    return media.normalise(picture(colour), Limits(min_side=1)).image_id


def write(path: Path, columns: list[str], *lines: tuple[str, ...]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(columns, line, strict=False))) for line in lines))
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({c: [line[n] for line in lines] for n, c in enumerate(columns)}), path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([columns, *lines])
    return path


@pytest.mark.parametrize("end", ["csv", "tsv", "jsonl", "parquet"])
def test_pictures_and_their_texts_come_from_any_list(mill: Mill, served: str, tmp_path: Path, end: str):
    lines = [
        ("0.png", "zero", "en"),
        ("none.png", "gone", "en"),
        ("1.png", "eins", "de"),
        ("0.png", "null", "de"),
    ]
    path = write(tmp_path / f"list.{end}", ["URL", "TEXT", "lang"], *lines)
    mill.take(source(path, base_url=served, licence="CC0-1.0"))
    found = mill.rows()
    assert [
        (r["origin"], r["position"], r["text"], r["lang"], r["reason"], r["image_id"]) for r in found
    ] == [
        ("0.png", 0, "zero", "en", None, image_id(0)),
        ("0.png", 1, "null", "de", None, image_id(0)),
        ("1.png", 0, "eins", "de", None, image_id(1)),
        ("none.png", 0, "gone", "en", "http_404", None),
    ]
    assert {r["licence"] for r in found} == {"CC0-1.0"}


def test_a_picture_named_twice_is_fetched_once(mill: Mill, served: str, tmp_path: Path):
    ASKED.clear()
    mill.take(source(write(tmp_path / "l.csv", ["url"], ("2.png",), ("2.png",), ("2.png",)), base_url=served))
    assert ASKED == ["/2.png"]


def test_a_text_file_is_a_list_of_urls(mill: Mill, served: str, tmp_path: Path):
    (tmp_path / "l.txt").write_text(f"\ufeff{served}0.png\r\n\n  {served}1.png  \n")
    mill.take(source(tmp_path / "l.txt"))
    assert [(r["image_id"], r["text"]) for r in mill.rows()] == [(image_id(0), None), (image_id(1), None)]


def test_the_server_s_address_never_enters_an_identity(mill: Mill, served: str, tmp_path: Path):
    path = write(tmp_path / "l.csv", ["url", "text"], ("0.png", "zero"))
    one, other = source(path, base_url=served), source(path, base_url="http://127.0.0.1:9/")
    assert one.fingerprint() == other.fingerprint()
    assert [s.key for s in shards(one)] == [s.key for s in shards(other)]
    mill.take(one, "one")
    mill.take(other, "other")
    row, failed = mill.rows("SELECT * FROM found ORDER BY source")
    address = served.split("/")[2]
    assert not any(address in str(value) for value in row.values())
    assert failed["reason"] == "connection"
    assert (failed["origin"], failed["position"], failed["version"]) == ("0.png", 0, row["version"])


def test_a_name_and_password_in_a_url_are_used_and_never_stored(mill: Mill, served: str, tmp_path: Path):
    secret = served.replace("http://", "http://user:secret@")
    mill.take(source(write(tmp_path / "l.csv", ["url"], (f"{secret}0.png",), (f"{secret}none.png",))))
    assert [r["reason"] for r in mill.rows()] == [None, "http_404"]
    for table in ("samples", "attempts", "consents", "decisions"):
        assert "secret" not in str(mill.store.read(table).to_pylist()), table


def test_only_new_and_changed_rows_are_fetched_again(mill: Mill, served: str, tmp_path: Path):
    lines = [(f"{n}.png", f"number {n}") for n in range(3)]
    urls = source(write(tmp_path / "l.csv", ["url", "text"], *lines), base_url=served)
    mill.take(urls)
    ASKED.clear()
    assert mill.take(urls) == 0
    write(tmp_path / "l.csv", ["url", "text"], ("3.png", "new"), lines[0], ("1.png", "changed"), lines[2])
    assert mill.take(urls) == 1
    assert sorted(ASKED) == ["/1.png", "/3.png"]
    assert [(r["origin"], r["text"]) for r in mill.rows()] == [
        ("0.png", "number 0"), ("1.png", "changed"), ("2.png", "number 2"), ("3.png", "new"),
    ]  # fmt: skip


def test_shards_cut_the_list_and_lose_nothing(mill: Mill, served: str, tmp_path: Path):
    lines = [(f"{n % 4}.png?{n}",) for n in range(10)]
    urls = source(write(tmp_path / "l.csv", ["url"], *lines), base_url=served, shard_rows=3)
    assert [shard.rows for shard in shards(urls)] == [3, 3, 3, 1]
    assert mill.take(urls) == 4
    assert [r["origin"] for r in mill.rows()] == [line[0] for line in sorted(lines)]


def test_private_addresses_are_refused_unless_allowed(mill: Mill, served: str, tmp_path: Path):
    path = write(tmp_path / "l.csv", ["url"], (f"{served}0.png",), ("file:///etc/passwd",))
    mill.take(source(path), "closed", FetchSettings(consent=(), retries=0))
    mill.take(source(path), "open")
    found = mill.rows("SELECT source, reason FROM found ORDER BY source, origin")
    assert [(r["source"], r["reason"]) for r in found] == [
        ("closed", "forbidden_address"), ("closed", "forbidden_address"),
        ("open", "forbidden_address"), ("open", None),
    ]  # fmt: skip


def test_rows_without_a_url_are_error_rows(mill: Mill, served: str, tmp_path: Path):
    (tmp_path / "l.csv").write_text("url,text\n0.png,zero\n,nothing\n1.png,a,slipped\n")
    mill.take(source(tmp_path / "l.csv", base_url=served))
    found = {r["origin"]: r["reason"] for r in mill.rows()}
    assert found == {"0.png": None, "l.csv#1": "bad_row", "l.csv#2": "bad_row"}


def test_the_ledger_has_a_row_for_every_request(mill: Mill, served: str, tmp_path: Path):
    mill.take(source(write(tmp_path / "l.csv", ["url"], ("0.png",), ("none.png",)), base_url=served))
    ledger = mill.store.read("attempts").sort_by("url").to_pylist()
    assert [(r["url"], r["outcome"], r["status"]) for r in ledger] == [
        (f"{served}0.png", "ok", 200),
        (f"{served}none.png", "http_404", 404),
    ]


def test_settings_that_do_not_fit_the_list_are_explained(tmp_path: Path):
    path = write(tmp_path / "l.csv", ["where", "what"], ("0.png", "x"))
    with pytest.raises(SourceError, match=r"which column holds the url.*there are where, what"):
        shards(source(path))
    with pytest.raises(SourceError, match='no column "wo" for url'):
        shards(source(path, columns={"url": "wo"}))
    assert len(shards(source(path, columns={"url": "where", "text": "what"}))) == 1
    with pytest.raises(SourceError, match="no such file"):
        shards(source(tmp_path / "gone.csv"))
    with pytest.raises(SourceError, match="should end in one of"):
        (tmp_path / "l.xlsx").write_bytes(b"x")
        shards(source(tmp_path / "l.xlsx"))


def test_a_list_that_cannot_be_read_ends_the_walk_and_keeps_what_was_complete(mill: Mill, tmp_path: Path):
    with pytest.raises(SourceError, match="no such file"):
        mill.take(source(tmp_path / "gone.csv"))
    assert mill.rows() == []


def test_a_pattern_names_several_lists(mill: Mill, served: str, tmp_path: Path):
    for n in range(2):
        write(tmp_path / f"l{n}.csv", ["url"], (f"{n}.png",), ("3.png",))
    mill.take(source(tmp_path / "l*.csv", base_url=served))
    assert [(r["origin"], r["position"]) for r in mill.rows()] == [
        ("0.png", 0),
        ("1.png", 0),
        ("3.png", 0),
        ("3.png", 1),
    ]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.one_of(
        st.binary(max_size=150), st.text(max_size=60).map(lambda text: b"url,text\n" + text.encode())
    ),
    end=st.sampled_from(["csv", "tsv", "jsonl", "parquet", "txt"]),
)
def test_any_list_gives_shards_or_a_clear_error(tmp_path: Path, raw: bytes, end: str):
    path = tmp_path / f"l.{end}"
    path.write_bytes(raw)
    urls = source(path)
    try:
        listed = [row for shard in shards(urls) for row in shard.payload["rows"]]
    except SourceError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert len({(row[0], row[1]) for row in listed}) == len(listed)
    json.dumps(listed)
