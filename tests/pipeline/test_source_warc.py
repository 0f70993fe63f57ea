"""Archives of the web: pictures from beside their pages, shards from any offset, broken files, what is said no to."""

from __future__ import annotations

import gzip
import io
import json
import random
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline import files
from pipeline.formats.archive import Archive, Broken, unchunked, unpacked
from pipeline.formats.survey import survey
from pipeline.formats.wat import read_links
from pipeline.sources import warc as module
from pipeline.sources.warc import Warc
from pipeline.step import Shard
from pipeline.web.client import Web
from pipeline.web.errors import FetchError
from pipeline.web.settings import FetchSettings
from pipeline.web.source import Known
from tests.pipeline.warc_files import PAGE, PARTS, PICTURE, SITE, record, response, written

WEB = Web(FetchSettings(consent=()))
"""Not started: nothing here is fetched."""
STRICT = Web(FetchSettings())


def shards(source: Warc, known: Known | None = None) -> tuple[list[Shard], str | None]:
    walk, found = source.shards(known or Known(), WEB), []
    while True:
        try:
            found.append(next(walk))
        except StopIteration as end:
            return found, end.value


def rows(path: Path, web: Web = WEB, **options: Any) -> list[dict[str, Any]]:
    source = Warc(path=str(path), **options)
    found = [row for shard in shards(source)[0] for row in source.read(shard, web)]
    places = [(row["origin"], row["position"]) for row in found]
    assert len(set(places)) == len(places)
    return found


def texts(found: list[dict[str, Any]]) -> list[bytes]:
    return [row["text"] for row in found if row.get("text") and not row.get("error")]


def errors(found: list[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(row["error"] for row in found if row.get("error")))


@pytest.mark.parametrize("packed", [True, False])
def test_pages_with_the_pictures_beside_them(tmp_path: Path, packed: bool) -> None:
    found = rows(written(tmp_path / "a.warc", PARTS, packed))
    assert texts(found) == [b"A bear walks.", b"A bear", b"Second page", b"Third page"]
    assert [(r["task"], r.get("text")) for r in found if r.get("image") == PICTURE] == [
        ("text", None),
        ("caption", b"A bear"),
    ]
    shown = [json.loads(r["http"]) for r in found if r.get("image") == PICTURE]
    assert [headers["content-type"] for headers in shown] == ["image/png"] * 2  # as they were archived
    assert errors(found) == {"not_archived": 2}
    assert {r["page_url"] for r in found} == {f"{SITE}/{n}" for n in (1, 2, 3)}
    offset = len(gzip.compress(PARTS[0], mtime=0)) if packed else len(PARTS[0])
    assert found[0]["origin"] == f"a.warc#{offset}" and found[0]["fetched_at"].year == 2026


def test_missing_pictures_are_fetched_only_if_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "a.warc.gz", PARTS)
    assert not any("fetch" in row for row in rows(path))
    fetched = rows(path, fetch_missing=True)
    assert {row["fetch"] for row in fetched if "fetch" in row} == {f"{SITE}/none.png"}
    assert errors(fetched) == {}


@pytest.mark.parametrize("packed", [True, False])
def test_a_shard_is_read_from_its_offset(
    tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [response(f"{SITE}/{n}", b"<p>Page %d" % n) for n in range(10)]
    path = written(tmp_path / "a.warc.gz", parts, packed)
    source = Warc(path=str(path), shard_rows=3)
    found, _ = shards(source)
    assert [shard.rows for shard in found] == [3, 3, 3, 1]
    last = found[2].payload["start"]
    seen: list[int] = []

    class Watched(Archive):
        def _stream(self, offset: int) -> Any:
            seen.append(offset)
            return super()._stream(offset)

    monkeypatch.setattr(module, "Archive", Watched)
    assert texts(list(source.read(found[2], WEB))) == [b"Page 6", b"Page 7", b"Page 8"]
    assert min(seen) == last > 0 and len(seen) == 3
    again = [shard.key for shard in shards(Warc(path=str(path), shard_rows=3))[0]]
    assert again == [shard.key for shard in found] and len(set(again)) == 4


def test_a_file_that_is_known_is_not_surveyed_again(tmp_path: Path) -> None:
    written(tmp_path / "a.warc.gz", PARTS)
    source = Warc(path=str(tmp_path / "*.warc.gz"))
    _, cursor = shards(source)
    assert shards(source, Known(cursor=cursor))[0] == []
    written(tmp_path / "b.warc.gz", PARTS)
    assert {s.payload["name"] for s in shards(source, Known(cursor=cursor))[0]} == {"b.warc.gz"}


def test_revisits_lead_to_what_they_saw(tmp_path: Path) -> None:
    sha = "WARC-Payload-Digest: sha1:{}"
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    refers = (f"WARC-Refers-To-Target-URI: {SITE}/1", "WARC-Refers-To-Date: 2026-01-02T03:04:05Z")
    parts = [
        response(f"{SITE}/1", PAGE, warc=sha.format("PAGE")),
        response(f"{SITE}/old.png", PICTURE, "image/png", warc=sha.format("BEAR")),
        record("revisit", f"{SITE}/bear.png", b"", sha.format("BEAR")),
        record("revisit", f"{SITE}/copy", http, *refers),
        record("revisit", f"{SITE}/1", http, sha.format("PAGE")),
        record("revisit", f"{SITE}/lost", http, sha.format("LOST")),
    ]
    found = rows(written(tmp_path / "a.warc.gz", parts), pairs=False)
    assert Counter(r["page_url"] for r in found if r.get("text")) == {f"{SITE}/1": 1, f"{SITE}/copy": 1}
    assert sum(r.get("image") == PICTURE for r in found) == 2
    assert errors(found) == {"not_archived": 2, "unchanged": 1, "missing_original": 1}


def test_a_page_that_said_no_is_a_row_without_text(tmp_path: Path) -> None:
    parts = [
        response(f"{SITE}/1", b"<meta name=robots content=noai>" + PAGE),
        response(f"{SITE}/2", PAGE, "text/html", "X-Robots-Tag: noimageai"),
    ]
    path = written(tmp_path / "a.warc.gz", parts)
    found = rows(path, STRICT)
    assert [(r["error"], r["consent"], r.get("text")) for r in found] == [
        ("consent_refused", "refused", None)
    ] * 2
    assert "noai" in found[0]["detail"] and "noimageai" in found[1]["detail"]
    assert len(texts(rows(path))) == 2


def test_a_picture_whose_own_headers_say_no_is_not_taken(tmp_path: Path) -> None:
    twice = ("X-Robots-Tag: noindex", "X-Robots-Tag: noai")
    for headers in (("TDM-Reservation: 1",), ("X-Robots-Tag: noimageai",), twice):
        parts = [PARTS[1], response(f"{SITE}/bear.png", PICTURE, "image/png", *headers)]
        path = written(tmp_path / "a.warc.gz", parts)
        found = rows(path, STRICT)
        assert errors(found) == {"consent_refused": 2, "not_archived": 2}
        assert {r["consent"] for r in found if r.get("error") == "consent_refused"} == {"refused"}
        assert not any("image" in row for row in found)
        assert sum(row.get("image") == PICTURE for row in rows(path)) == 2
    parts = [response(f"{SITE}/2", PAGE, "text/html", *twice)]
    assert errors(rows(written(tmp_path / "a.warc.gz", parts), STRICT)) == {"consent_refused": 1}


def test_only_what_is_due_of_an_unchanged_file_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path / "a.warc.gz", PARTS)
    source = Warc(path=str(path), fetch_missing=True, shard_rows=1, pairs=False)
    stretches, cursor = shards(source)
    before = [row for shard in stretches for row in source.read(shard, WEB)]
    table = pa.Table.from_pylist([{c: r[c] for c in ("origin", "position", "version")} for r in before])
    missing = [i for i, row in enumerate(before) if "fetch" in row]
    known = Known(
        table.take([i for i in range(len(before)) if i not in missing]), table.take(missing), cursor=cursor
    )
    [again] = shards(source, known)[0]
    assert [(r["origin"], r["fetch"]) for r in source.read(again, WEB)] == [
        (before[i]["origin"], f"{SITE}/none.png") for i in missing
    ]
    assert again.key not in {shard.key for shard in stretches}
    unfinished = Known(known.rows, known.due)  # a walk that was cut off: what it had is not read again either
    first, *others = shards(source, unfinished)[0]
    assert first.key == again.key and [s.key for s in others] == [s.key for s in stretches[1:]]
    wider = Warc(path=str(path), fetch_missing=True, shard_rows=3, pairs=False)
    [all_of_it] = shards(wider, Known(known.rows.slice(0, 1), known.due))[0]
    assert len(list(wider.read(all_of_it, WEB))) == len(before) - 1
    written(path, PARTS[:-1])
    assert len(shards(source, known)[0]) == 2  # a changed file is read as a new one


def test_pages_that_are_none(tmp_path: Path) -> None:
    parts = [
        response(f"{SITE}/lost", b"<p>Not found", status="404 Not Found"),
        response(f"{SITE}/moved", b"<p>Moved", status="302 Found"),
        response(f"{SITE}/data", b"{}", "application/json"),
        response(f"{SITE}/blank", b""),
        record("resource", f"{SITE}/r", b"<p>A resource", "Content-Type: text/html; charset=utf-8"),
    ]
    found = rows(written(tmp_path / "a.warc.gz", parts))
    assert errors(found) == {"http_404": 1, "empty_page": 1} and texts(found) == [b"A resource"]


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("Transfer-Encoding: chunked", b"5\r\n<p>Ch\r\n4;x=y\r\nunks\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"<p>Chunks"),
        ("Content-Encoding: gzip", gzip.compress(b"<p>Chunks", mtime=0)),
        ("Content-Encoding: gzip", b"<p>Chunks"),
        ("Content-Encoding: deflate", zlib.compress(b"<p>Chunks")),
        ("Content-Encoding: br", b"<p>Chunks"),
    ],
)
def test_encoded_bodies(tmp_path: Path, header: str, body: bytes) -> None:
    found = rows(written(tmp_path / "a.warc.gz", [response(f"{SITE}/1", body, "text/html", header)]))
    assert texts(found) == [b"Chunks"]


@pytest.mark.parametrize(
    ("header", "body", "reason"),
    [
        ("Transfer-Encoding: chunked", b"5\r\n<p>Ch\r\nxyz\r\n", "bad_chunks"),
        ("Transfer-Encoding: chunked", b"ff\r\n<p>", "bad_chunks"),
        ("Content-Encoding: gzip", gzip.compress(b"<p>Chunks" * 99, mtime=0)[:-12], "incomplete"),
        ("Content-Encoding: gzip", b"\x1f\x8bbroken", "bad_encoding"),
        ("Content-Encoding: br", b"\x0b\x02\x80", "bad_encoding"),
        ("Content-Encoding: gzip", gzip.compress(b" " * (9 << 20), mtime=0), "too_large"),
        ("X: y", b" " * (9 << 20), "too_large"),
    ],
)
def test_a_body_that_breaks_its_rules_costs_only_itself(
    tmp_path: Path, header: str, body: bytes, reason: str
) -> None:
    parts = [PARTS[1], response(f"{SITE}/broken", body, "text/html", header), PARTS[3]]
    found = rows(written(tmp_path / "a.warc.gz", parts))
    assert errors(found) == {"not_archived": 4, reason: 1}
    assert b"Second page" in texts(found)


BREAKS = {
    "cut": lambda raw: raw[:-30],
    "zeros": lambda raw: raw + b"\0" * 300,
    "rubbish": lambda raw: raw + b"WARC/9 what?\r\n" * 3,
    "a long line": lambda raw: raw + b"x" * 300_000,
    "one more header": lambda raw: raw + b"WARC/1.0\r\nContent-Length: 999999\r\n\r\n",
    "endless headers": lambda raw: raw + b"WARC/1.0\r\n" + b"A: b\r\n" * 400_000,
}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", BREAKS)
def test_what_comes_before_a_break_is_kept(tmp_path: Path, kind: str, packed: bool) -> None:
    path = written(tmp_path / "a.warc", PARTS, packed)
    path.write_bytes(BREAKS[kind](path.read_bytes()))
    found = rows(path)
    assert texts(found)[:3] == [b"A bear walks.", b"A bear", b"Second page"]
    assert errors(found) == {"not_archived": 2, "broken_archive": 1}
    assert found[-1]["error"] == "broken_archive" and found[-1]["detail"].startswith("at byte ")


def test_a_file_in_one_gzip_member_says_how_to_mend_it(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(b"".join(PARTS[1:])))
    found = rows(path)
    assert texts(found)[0] == b"A bear walks."
    assert "warcio recompress" in found[-1]["detail"]


@pytest.mark.parametrize("length", ["-5", "many", "99999999999999999999", ""])
def test_a_length_that_is_none(tmp_path: Path, length: str) -> None:
    broken = response(f"{SITE}/x", b"<p>x").replace(
        b"Content-Length: ", b"Content-Length: " + length.encode() + b"\r\nX: "
    )
    found = rows(written(tmp_path / "a.warc.gz", [PARTS[1], broken]))
    assert texts(found) == [b"A bear walks."]
    assert set(errors(found)) == {"not_archived", "broken_archive"}


def test_a_bomb_ends_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.formats.archive.MEMBER_BYTES", 1 << 20)
    bomb = record("resource", f"{SITE}/x", b"\0" * (8 << 20), "Content-Type: application/octet-stream")
    found = rows(written(tmp_path / "a.warc.gz", [PARTS[1], bomb]))
    assert found[-1]["error"] == "broken_archive" and "over 1048576 bytes" in found[-1]["detail"]


def test_no_file_and_an_unreadable_one(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(b"")
    assert rows(tmp_path / "a.warc") == []
    with pytest.raises(files.SourceError, match="no such file"):
        rows(tmp_path / "none.warc")


def wat(links: list[dict[str, str]], **head: Any) -> bytes:
    html = {"Head": {"Title": "Bears", **head}, "Links": links}
    told = {"HTTP-Response-Metadata": {"Headers": {"Content-Type": "text/html"}, "HTML-Metadata": html}}
    return json.dumps(
        {"Envelope": {"WARC-Header-Metadata": {"WARC-Target-URI": f"{SITE}/d/p"}, "Payload-Metadata": told}}
    ).encode()


def test_links_of_a_wat_are_pairs(tmp_path: Path) -> None:
    links = [
        {"path": "A@/href", "url": "x"},
        {"path": "IMG@/src", "url": "/bear.png", "alt": "A  bear"},
        {"path": "IMG@/src", "url": "cub.png", "alt": "A cub", "title": "Cub"},
        {"path": "IMG@/src", "url": "plain.png"},
        {"path": "IMG@/src", "url": "data:image/gif;base64,AAAA", "alt": "none"},
    ]
    body, kind = wat(links), "Content-Type: application/json"
    path = written(tmp_path / "a.warc.wat.gz", [record("metadata", f"{SITE}/d/p", body, kind)])
    found = rows(path, fetch_missing=True)
    assert [(r["text"], r["fetch"], r["position"]) for r in found] == [
        (b"A bear", f"{SITE}/bear.png", 0),
        (b"A cub", f"{SITE}/d/cub.png", 0),
        (b"Cub", f"{SITE}/d/cub.png", 1),
    ]
    assert {(r["task"], r["page_url"]) for r in found} == {("caption", f"{SITE}/d/p")}
    no = wat(links, Metas=[{"name": "robots", "content": "noai"}])
    refused = rows(written(tmp_path / "b.wat.gz", [record("metadata", f"{SITE}/d/p", no, kind)]), STRICT)
    assert errors(refused) == {"consent_refused": 1} and len(refused) == 1


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"Envelope": 3}', b"\xff", b"[" * 100_000, wat([]).replace(b"[]", b"7")]
)
def test_rubbish_is_no_links(raw: bytes) -> None:
    page, _ = read_links(raw)
    assert page is None or page.pictures == ()


VALID = {
    packed: b"".join(gzip.compress(p, mtime=0) if packed else p for p in PARTS) for packed in (True, False)
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), st.integers(0, 2**32), st.integers(1, 8), st.floats(0, 1))
@example(True, 0, 1, 0.5)
@example(False, 569, 2, 0.0)
def test_damaged_files_end_cleanly(tmp_path: Path, packed: bool, seed: int, hits: int, cut: float) -> None:
    chance = random.Random(seed)
    raw = bytearray(VALID[packed])
    for _ in range(hits):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    if seed % 3 == 0:
        del raw[int(len(raw) * cut) :]
    path = tmp_path / "a.warc"
    path.write_bytes(raw)
    found = rows(path)
    # a picture whose bytes are lost is an empty one: whoever decodes it says so
    assert all(row.get("error") or row.get("text") or row.get("image") is not None for row in found)
    assert (
        sum(row.get("error") == "broken_archive" and row["origin"].endswith("broken") for row in found) <= 1
    )


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"WARC/1.0\r\n", b"http://a/ 1.2.3.4 2026 text/html 9\n", b"\x1f\x8b\x08\0"]),
)
def test_any_bytes_are_an_archive_or_broken(raw: bytes, start: bytes) -> None:
    archive = Archive(io.BytesIO(start + raw))
    try:
        count = sum(1 for _ in archive.records())
    except Broken as broken:
        assert 0 <= broken.offset <= len(start + raw)
    else:
        assert count <= len(start + raw)
    assert all(end is None or first < end for first, end, _ in survey(archive, 2, 100).stretches)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["", "gzip", "deflate", "br", "x"]))
def test_any_body_is_decoded_or_refused(raw: bytes, encoding: str) -> None:
    try:
        assert len(unpacked(unchunked(raw), encoding, 10_000)) <= 10_000
    except FetchError as error:
        assert error.reason in ("bad_chunks", "bad_encoding", "incomplete", "too_large")


def test_a_large_file_takes_no_more_memory_and_little_time(tmp_path: Path) -> None:
    parts = [response(f"{SITE}/{n}", PAGE) for n in range(2000)]
    path = written(tmp_path / "a.warc.gz", parts)
    began = time.process_time()
    found, _ = shards(Warc(path=str(path)))
    assert time.process_time() - began < 10
    assert sum(shard.rows or 0 for shard in found) == 2000 and len(found) == 32
    assert all(len(json.dumps(shard.payload)) < 1000 for shard in found)
