"""Sources over a bucket: the same rows as from the folder, only what is new, and what is not there."""

from __future__ import annotations

import io
import json
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyarrow import fs

from pipeline import files, records, s3
from pipeline.errors import BucketError, SourceError
from pipeline.sources.cnxml import CNXML
from pipeline.sources.folder import Folder
from pipeline.sources.parquet import Parquet
from pipeline.sources.url_list import UrlList
from pipeline.sources.webdataset import WebDataset
from pipeline.web.source import Known
from storage import bucket

NOTHING = pa.table({"origin": pa.array([], pa.string()), "version": pa.array([], pa.string())})


@pytest.fixture(autouse=True)
def user(s3_user: tuple[str, str]) -> tuple[str, str]:
    return s3_user


@pytest.fixture
def put(new_bucket: str, s3_server: str) -> Callable[[Path | dict[str, bytes]], str]:
    """Uploads a folder, or objects by key, into a bucket of the test's own; returns the bucket's URI."""
    # in parts, not at once: moto keeps what is put at once from those who name no user
    client = fs.S3FileSystem(region="us-east-1", endpoint_override=s3_server)

    def upload(what: Path | dict[str, bytes]) -> str:
        if isinstance(what, Path):
            what = {p.relative_to(what).as_posix(): p.read_bytes() for p in what.rglob("*") if p.is_file()}
        for key, body in what.items():
            with client.open_output_stream(f"{new_bucket}/in/{key}") as out:
                out.write(body)
        return f"s3://{new_bucket}/in"

    return upload


def picture(colour: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), (colour, 9, 9)).save(out, "PNG")
    return out.getvalue()


def rows(source: Any, known: pa.Table = NOTHING) -> list[dict[str, Any]]:
    return [
        row for shard in source.shards(known) for batch in source.read(shard) for row in batch.to_pylist()
    ]


def bare(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without their versions, which hold the time of writing where nothing else is known of a file."""
    return [{name: value for name, value in row.items() if name != "version"} for row in found]


def known(found: list[dict[str, Any]]) -> pa.Table:
    return pa.table(
        {name: pa.array([row[name] for row in found], pa.string()) for name in ("origin", "version")}
    )


def shards_of(root: Path) -> Path:
    for folder in ("one", "two"):
        (root / folder).mkdir(parents=True)
        with tarfile.open(root / folder / "x.tar", "w") as tar:
            for n in range(3):
                for name, body in ((f"{n}.png", picture(n)), (f"{n}.txt", f"{folder} {n}".encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(body)
                    tar.addfile(info, io.BytesIO(body))
    return root


# --- the same rows


def test_a_folder_gives_the_same_rows(tmp_path: Path, put: Any):
    (tmp_path / "sub/deep").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    for name in ("a.png", "sub/b ü%20?#.PNG", "sub/deep/c.jpeg", ".git/no.png", "sub/.no.png"):
        (tmp_path / name).write_bytes(picture(len(name)))
    (tmp_path / "sub/deep/c.json").write_text(
        json.dumps([{"caption": "two"}, {"caption": "deux", "lang": "fr"}])
    )
    (tmp_path / "captions.csv").write_text("file,caption\na.png,one\ngone.png,x\n")
    (tmp_path / "huge.png").write_bytes(b"x" * 2000)
    uri = put(tmp_path)
    here = rows(Folder(path=str(tmp_path), max_bytes=1000, shard_rows=2))
    assert [r["origin"] for r in here] == sorted(r["origin"] for r in here) and len(here) == 6
    for path in (uri, uri + "/"):
        assert bare(rows(Folder(path=path, max_bytes=1000, shard_rows=2))) == bare(here)
    with pytest.raises(SourceError, match=r"gone\.csv: no such file"):
        rows(Folder(path=uri, metadata="gone.csv"))


@pytest.mark.parametrize("pattern", ["*/*.tar", "**/x.tar", "one/x.tar", "t?o/*", "[ot]*/x.tar"])
def test_tars_give_the_same_rows_and_the_same_shards(tmp_path: Path, put: Any, pattern: str):
    here, there = (
        WebDataset(path=f"{shards_of(tmp_path)}/{pattern}"),
        WebDataset(path=f"{put(tmp_path)}/{pattern}"),
    )
    assert [shard.key for shard in there.shards(NOTHING)] == [shard.key for shard in here.shards(NOTHING)]
    assert rows(there) == rows(here) != []


def test_a_broken_or_vanished_tar_is_a_verdict_on_that_tar(tmp_path: Path, put: Any):
    whole = (shards_of(tmp_path) / "one/x.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none.tar").write_bytes(b"no tar")
    uri = put(tmp_path)
    found = rows(WebDataset(path=f"{uri}/*.tar"))
    assert found == rows(WebDataset(path=f"{tmp_path}/*.tar"))
    assert {r["error"] for r in found} == {None, "truncated_archive", "not_an_archive"}
    source = WebDataset(path=f"{uri}/one/x.tar")
    shard = next(iter(source.shards(NOTHING)))
    shard.payload["path"] = shard.payload["path"].replace("x.tar", "y.tar")
    assert [r["error"] for batch in source.read(shard) for r in batch.to_pylist()] == ["unreadable"]


def test_parquet_gives_the_same_rows_and_the_same_shards(tmp_path: Path, put: Any):
    for name in "ab":
        table = pa.table(
            {"image": [picture(n) for n in range(50)], "caption": [f"{name}{n}" for n in range(50)]}
        )
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=7)
    uri = put(tmp_path)
    here, there = (Parquet(path=f"{at}/*.parquet", shard_rows=20) for at in (tmp_path, uri))
    assert [shard.key for shard in there.shards(NOTHING)] == [shard.key for shard in here.shards(NOTHING)]
    assert rows(there) == rows(here) and len(rows(here)) == 100
    put({"bad.parquet": b"PAR1 no"})
    with pytest.raises(SourceError, match=r"^bad\.parquet: not a readable Parquet file"):
        rows(Parquet(path=f"{uri}/bad.parquet"))


def test_a_query_joins_files_of_a_bucket_and_reads_nothing_else(tmp_path: Path, put: Any):
    pq.write_table(pa.table({"id": [1, 2], "image": [picture(1), picture(2)]}), tmp_path / "images.parquet")
    (tmp_path / "texts.csv").write_text("id,n,says\n1,0,one\n2,0,two\n1,1,uno\n")
    uri = put(tmp_path)
    query = "SELECT id || ':' || n AS key, image, says AS text FROM images JOIN texts USING (id)"
    here, there = (rows(Parquet(path=f"{at}/*", query=query)) for at in (tmp_path, uri))
    assert there == here and [r["text"] for r in there] == [b"one", b"uno", b"two"]
    put({"../secret.csv": b"a\n1\n"})
    secret = f"{uri.removesuffix('/in')}/secret.csv"
    with pytest.raises(SourceError, match="query: Permission Error"):
        rows(Parquet(path=f"{uri}/*", query=f"SELECT a AS key, a AS text FROM read_csv('{secret}')"))


@pytest.mark.parametrize("name", ["l.csv", "l.tsv", "l.jsonl", "l.txt", "l.json", "l.parquet"])
def test_lists_give_the_same_records(tmp_path: Path, put: Any, name: str):
    urls = [f"/{n}.png" for n in range(9)]
    match name.partition(".")[2]:
        case "parquet":
            pq.write_table(pa.table({"url": urls}), tmp_path / name)
        case "json":
            (tmp_path / name).write_text(json.dumps([{"url": url} for url in urls]))
        case "jsonl":
            (tmp_path / name).write_text("\n".join(json.dumps({"url": url}) for url in urls))
        case kind:
            (tmp_path / name).write_text(
                "\n".join(urls if kind == "txt" else ["url", *urls]), encoding="utf-8-sig"
            )
    [here], [there] = records.files(f"{tmp_path}/{name}"), records.files(f"{put(tmp_path)}/l.*")
    assert there.name == here.name and there.suffix == here.suffix
    assert list(records.read(there)) == list(records.read(here)) and len(list(records.read(here))) == 9


def test_a_list_of_urls_gives_the_same_shards(tmp_path: Path, put: Any):
    for name in "ab":
        lines = [f"/{name}{n}.png,{name} {n}\n" for n in range(30)]
        (tmp_path / f"{name}.csv").write_text("url,caption\n" + "".join(lines))
    web: Any = None  # listing asks nothing of the network but the lists
    here, there = (UrlList(path=f"{at}/*.csv", shard_rows=16) for at in (tmp_path, put(tmp_path)))
    listed = list(there.shards(Known(), web))
    assert listed == list(here.shards(Known(), web)) and [shard.rows for shard in listed] == [16, 16, 16, 12]


def test_cnxml_modules_find_their_pictures_in_the_bucket(put: Any):
    module = '<document xmlns="http://cnx.rice.edu/cnxml"><content>{}</content></document>'
    shown = '<media alt="{0}"><image src="../../media/{0}.png"/></media>'
    home = put(
        {
            "book/modules/m1/index.cnxml": module.format(shown.format("a") + shown.format("b")).encode(),
            "book/modules/m2/index.cnxml": module.format(shown.format("a")).encode(),
            "book/media/a.png": picture(1),
        }
    )
    web: Any = None  # nothing is fetched
    source = CNXML(path=f"{home}/book/modules/*/index.cnxml")
    found = [row for shard in source.shards(Known(), web) for row in source.read(shard, web)]
    assert [(r["origin"], r["text"], r.get("image"), r.get("error")) for r in found] == [
        ("m1", b"a", picture(1), None),
        ("m1", b"b", None, "missing_file"),
        ("m2", b"a", picture(1), None),
    ]


def test_a_long_file_can_be_read_from_anywhere(put: Any):
    body = bytes(range(256)) * (80 << 10)
    file = files.at(put({"long.bin": body}) + "/long.bin")
    with file.open("rb") as opened:
        assert opened.read() == body
        opened.seek(-5, io.SEEK_END)
        assert opened.read() == body[-5:] and opened.tell() == len(body)
    assert files.identity(file) == files.identity(files.at(str(file)))


# --- what is new


def test_only_a_new_picture_is_read(tmp_path: Path, put: Any, monkeypatch: pytest.MonkeyPatch):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(picture())
    source = Folder(path=put(tmp_path))
    first = rows(source)
    assert rows(source, known(first)) == []
    put({"c.png": picture(3), "b.txt": b"a caption"})
    opened: list[str] = []
    native = s3.S3File.native
    monkeypatch.setattr(s3.S3File, "native", lambda self: opened.append(self.name) or native(self))
    assert [(r["origin"], r["text"]) for r in rows(source, known(first))] == [
        ("b.png", b"a caption"),
        ("c.png", None),
    ]
    assert sorted(opened) == ["b.png", "b.txt", "c.png"]


def test_only_a_new_tar_has_a_new_key(tmp_path: Path, put: Any):
    uri = put(shards_of(tmp_path))
    source = WebDataset(path=f"{uri}/*/*.tar")
    before = {shard.key for shard in source.shards(NOTHING)}
    put({"three/x.tar": (tmp_path / "one/x.tar").read_bytes()[:-512] + b"\0" * 1024})
    after = [shard for shard in source.shards(NOTHING) if shard.key not in before]
    assert [shard.payload["name"] for shard in after] == ["three/x.tar"]


def test_shards_do_not_know_the_bucket(tmp_path: Path, put: Any, s3_server: str):
    (tmp_path / "a.png").write_bytes(picture())
    uri = put(tmp_path)
    put({"../other/a.png": picture()})
    for path in (uri, f"{uri}?endpoint={s3_server}&region=eu-west-3&anonymous=true"):
        assert [r["origin"] for r in rows(Folder(path=path))] == ["a.png"]
    assert Folder(path=uri).fingerprint() == Folder(path="s3://elsewhere").fingerprint()


# --- what is not there


def sources(bucket: str, query: str = "") -> list[Any]:
    return [
        Folder(path=f"s3://{bucket}/a{query}"),
        WebDataset(path=f"s3://{bucket}/a/*.tar{query}"),
        Parquet(path=f"s3://{bucket}/a/x.parquet{query}"),
        Parquet(path=f"s3://{bucket}/a/*.parquet{query}", query="SELECT 1 AS key, 'a' AS text"),
    ]


def test_a_missing_bucket():
    for source in sources("no-such-bucket"):
        with pytest.raises(
            BucketError, match=r"^s3://no-such-bucket: no such bucket; look at its name, the re"
        ):
            rows(source)


def test_a_missing_folder_or_file(put: Any):
    bucket = put({"x.png": picture()}).removesuffix("/in").removeprefix("s3://")
    for source in sources(bucket):
        with pytest.raises(SourceError, match=r"no such (folder|file)"):
            rows(source)


@pytest.mark.parametrize("kind", ["folder", "webdataset", "parquet", "query"])
def test_a_bucket_that_is_gone_later_stops_the_part_and_judges_no_row(
    tmp_path: Path, put: Any, monkeypatch: pytest.MonkeyPatch, kind: str
):
    (shards_of(tmp_path) / "a.png").write_bytes(picture())
    pq.write_table(pa.table({"id": [1], "text": ["x"]}), tmp_path / "t.parquet")
    uri = put(tmp_path)
    source = {
        "folder": Folder(path=uri, metadata=""),
        "webdataset": WebDataset(path=f"{uri}/*/*.tar"),
        "parquet": Parquet(path=f"{uri}/*.parquet"),
        "query": Parquet(path=f"{uri}/*.parquet", query="SELECT id AS key, text FROM t"),
    }[kind]
    shards = list(source.shards(NOTHING))
    monkeypatch.setattr(bucket, "TRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(BucketError):
        [*source.read(shards[0])]
