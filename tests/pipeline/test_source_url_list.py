"""The URL list source: any columns, relative URLs that keep their identity, every row accounted for."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.records import SourceError
from pipeline.sources.url_list import UrlList
from pipeline.step import RAW

NOTHING = pa.table({"origin": pa.array([], pa.string()), "version": pa.array([], pa.string())})


def picture(colour: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), (colour, 9, 9)).save(out, "PNG")
    return out.getvalue()


class Quiet(SimpleHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        Quiet.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("served")
    for n in range(4):
        (root / f"{n}.png").write_bytes(picture(n))
    make = lambda *args: Quiet(*args, directory=str(root))  # noqa: E731
    with ThreadingHTTPServer(("127.0.0.1", 0), make) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def source(path: Path, **options: Any) -> UrlList:
    return UrlList(path=str(path), **{"allow_private": True, "retries": 0, "deadline": 20, **options})


def rows(urls: UrlList, known: pa.Table = NOTHING) -> list[dict[str, Any]]:
    found = [batch for shard in urls.shards(known) for batch in urls.read(shard)]
    assert all(batch.schema.equals(RAW) for batch in found)
    return pa.Table.from_batches(found, RAW).to_pylist()


def known(found: list[dict[str, Any]]) -> pa.Table:
    return pa.table(
        {name: pa.array([row[name] for row in found], pa.string()) for name in ("origin", "version")}
    )


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
def test_pictures_and_their_texts_come_from_any_list(served: str, tmp_path: Path, end: str):
    lines = [
        ("0.png", "zero", "en"),
        ("none.png", "gone", "en"),
        ("1.png", "eins", "de"),
        ("0.png", "null", "de"),
    ]
    path = write(tmp_path / f"list.{end}", ["URL", "TEXT", "lang"], *lines)
    found = rows(source(path, base_url=served, licence="CC0-1.0"))
    assert [(r["origin"], r["position"], r["text"], r["lang"], r["error"], r["image"]) for r in found] == [
        ("0.png", 0, b"zero", "en", None, picture(0)),
        ("0.png", 1, b"null", "de", None, picture(0)),
        ("none.png", 0, b"gone", "en", "http_404", None),
        ("1.png", 0, b"eins", "de", None, picture(1)),
    ]
    assert {r["licence"] for r in found} == {"CC0-1.0"}


def test_a_picture_named_twice_is_fetched_once(served: str, tmp_path: Path):
    Quiet.asked.clear()
    rows(source(write(tmp_path / "l.csv", ["url"], ("2.png",), ("2.png",), ("2.png",)), base_url=served))
    assert Quiet.asked == ["/2.png"]


def test_a_text_file_is_a_list_of_urls(served: str, tmp_path: Path):
    (tmp_path / "l.txt").write_text(f"\ufeff{served}0.png\r\n\n  {served}1.png  \n")
    found = rows(source(tmp_path / "l.txt"))
    assert [r["image"] for r in found] == [picture(0), picture(1)]
    assert [r["text"] for r in found] == [None, None]


def test_the_server_s_address_never_enters_an_identity(served: str, tmp_path: Path):
    path = write(tmp_path / "l.csv", ["url", "text"], ("0.png", "zero"))
    one, other = source(path, base_url=served), source(path, base_url="http://127.0.0.1:9/", deadline=3)
    assert one.fingerprint() == other.fingerprint()
    assert [s.key for s in one.shards(NOTHING)] == [s.key for s in other.shards(NOTHING)]
    (row,) = rows(one)
    address = served.split("/")[2]
    assert not any(address in str(value) for name, value in row.items() if name != "image")
    (failed,) = rows(other)
    assert failed["error"] == "connection"
    assert (failed["origin"], failed["position"], failed["version"]) == ("0.png", 0, row["version"])


def test_only_new_and_changed_rows_are_fetched_again(served: str, tmp_path: Path):
    lines = [(f"{n}.png", f"number {n}") for n in range(3)]
    urls = source(write(tmp_path / "l.csv", ["url", "text"], *lines), base_url=served)
    first = rows(urls)
    Quiet.asked.clear()
    assert rows(urls, known(first)) == []
    write(tmp_path / "l.csv", ["url", "text"], ("3.png", "new"), lines[0], ("1.png", "changed"), lines[2])
    assert [(r["origin"], r["text"]) for r in rows(urls, known(first))] == [
        ("3.png", b"new"),
        ("1.png", b"changed"),
    ]
    assert sorted(Quiet.asked) == ["/1.png", "/3.png"]


def test_shards_cut_the_list_and_lose_nothing(served: str, tmp_path: Path):
    lines = [(f"{n % 4}.png?{n}",) for n in range(10)]
    urls = source(write(tmp_path / "l.csv", ["url"], *lines), base_url=served, shard_rows=3)
    shards = list(urls.shards(NOTHING))
    assert [shard.rows for shard in shards] == [3, 3, 3, 1]
    assert [r["origin"] for r in rows(urls)] == [line[0] for line in lines]


def test_private_addresses_are_refused_unless_allowed(served: str, tmp_path: Path):
    path = write(tmp_path / "l.csv", ["url"], (f"{served}0.png",), ("file:///etc/passwd",))
    assert [r["error"] for r in rows(source(path, allow_private=False))] == ["forbidden_address"] * 2
    assert [r["error"] for r in rows(source(path))] == [None, "forbidden_address"]


def test_rows_without_a_url_are_error_rows(served: str, tmp_path: Path):
    (tmp_path / "l.csv").write_text("url,text\n0.png,zero\n,nothing\n1.png,a,slipped\n")
    found = {r["origin"]: r["error"] for r in rows(source(tmp_path / "l.csv", base_url=served))}
    assert found == {"0.png": None, "l.csv#1": "bad_row", "l.csv#2": "bad_row"}


def test_the_ledger_has_a_row_for_every_request(served: str, tmp_path: Path):
    urls = source(write(tmp_path / "l.csv", ["url"], ("0.png",), ("none.png",)), base_url=served)
    (shard,) = urls.shards(NOTHING)
    list(urls.read(shard))
    ledger = urls.attempts(shard)
    assert ledger is not None
    assert [(r["url"], r["outcome"], r["status"]) for r in ledger.to_pylist()] == [
        ("0.png", "ok", 200),
        ("none.png", "http_404", 404),
    ]
    assert urls.attempts(shard) is None


def test_settings_that_do_not_fit_the_list_are_explained(tmp_path: Path):
    path = write(tmp_path / "l.csv", ["where", "what"], ("0.png", "x"))
    with pytest.raises(SourceError, match=r"which column holds the url.*there are where, what"):
        list(source(path).shards(NOTHING))
    with pytest.raises(SourceError, match='no column "wo" for url'):
        list(source(path, columns={"url": "wo"}).shards(NOTHING))
    assert len(list(source(path, columns={"url": "where", "text": "what"}).shards(NOTHING))) == 1
    with pytest.raises(SourceError, match="no such file"):
        list(source(tmp_path / "gone.csv").shards(NOTHING))
    with pytest.raises(SourceError, match="should end in one of"):
        (tmp_path / "l.xlsx").write_bytes(b"x")
        list(source(tmp_path / "l.xlsx").shards(NOTHING))


def test_a_pattern_names_several_lists(served: str, tmp_path: Path):
    for n in range(2):
        write(tmp_path / f"l{n}.csv", ["url"], (f"{n}.png",), ("3.png",))
    found = rows(source(tmp_path / "l*.csv", base_url=served))
    assert [(r["origin"], r["position"]) for r in found] == [
        ("0.png", 0),
        ("3.png", 0),
        ("3.png", 1),
        ("1.png", 0),
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
        listed = [row for shard in urls.shards(NOTHING) for row in shard.payload["rows"]]
    except SourceError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert len({(row[0], row[1]) for row in listed}) == len(listed)
    json.dumps(listed)
