"""The WebDataset source: members are grouped by key, and a broken tar costs only what it broke."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.records import SourceError
from pipeline.sources.webdataset import WebDataset
from pipeline.step import RAW

NOTHING = pa.table({"origin": pa.array([], pa.string()), "version": pa.array([], pa.string())})


def picture(colour: int = 0, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), (colour, 9, 9)).save(out, kind)
    return out.getvalue()


def tar(path: Path, *members: tuple[str, bytes], mode: str = "w", kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, mode, format=kind) as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def rows(path: Path | str, **options: Any) -> list[dict[str, Any]]:
    source = WebDataset(path=str(path), **options)
    found = [batch for shard in source.shards(NOTHING) for batch in source.read(shard)]
    assert all(batch.schema.equals(RAW) for batch in found)
    return pa.Table.from_batches(found, RAW).to_pylist()


def brief(found: list[dict[str, Any]]) -> list[tuple]:
    return [(r["origin"], r["position"], r["text"], r["error"]) for r in found]


def test_members_that_share_a_key_are_a_sample(tmp_path: Path):
    path = tar(
        tmp_path / "s.tar",
        ("d/0001.jpg", picture(1, "JPEG")), ("d/0001.txt", b"one"), ("d/0001.cls", b"7\n"),
        ("d/0002.PNG", picture(2)), ("d/0002.json", b'{"caption": "two", "license": "MIT"}'),
        ("d/0003.webp", picture(3, "WEBP")),
        ("words.txt", b"only text"),
    )  # fmt: skip
    found = rows(path, lang="en")
    assert brief(found) == [
        ("s.tar#d/0001", 0, b"one", None),
        ("s.tar#d/0002", 0, b"two", None),
        ("s.tar#d/0003", 0, None, None),
        ("s.tar#words", 0, b"only text", None),
    ]
    assert [r["image"] for r in found] == [picture(1, "JPEG"), picture(2), picture(3, "WEBP"), None]
    assert (found[0]["label"], found[1]["licence"], found[2]["lang"]) == ("7", "MIT", "en")


def test_a_key_ends_at_the_first_dot(tmp_path: Path):
    found = rows(
        tar(tmp_path / "s.tar", ("a.b.left.png", picture(1)), ("a.b.right.png", picture(2)), ("a.txt", b"x"))
    )
    assert brief(found) == [("s.tar#a", 0, b"x", None), ("s.tar#a", 1, b"x", None)]
    assert [r["image"] for r in found] == [picture(1), picture(2)]


def test_several_texts_in_json_are_several_rows(tmp_path: Path):
    texts = [{"text": "one", "lang": "en"}, {"text": "eins", "lang": "de"}]
    path = tar(tmp_path / "s.tar", ("a.png", picture()), ("a.json", json.dumps(texts).encode()))
    found = rows(path)
    assert [(r["position"], r["text"], r["lang"]) for r in found] == [(0, b"one", "en"), (1, b"eins", "de")]
    assert all(r["image"] == picture() for r in found)


def test_a_key_that_comes_again_keeps_its_rows_apart(tmp_path: Path):
    path = tar(tmp_path / "s.tar", ("a.png", picture(1)), ("b.png", picture(2)), ("a.png", picture(3)))
    assert [(r["origin"], r["position"]) for r in rows(path)] == [
        ("s.tar#a", 0),
        ("s.tar#b", 0),
        ("s.tar#a", 1),
    ]


def test_several_tars_are_told_apart_by_their_paths(tmp_path: Path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        tar(tmp_path / name / "0.tar", ("a.png", picture()))
    found = rows(tmp_path / "*" / "*.tar")
    assert [r["origin"] for r in found] == ["x/0.tar#a", "y/0.tar#a"]


def test_a_copied_tar_is_known_again_and_a_changed_one_is_not(tmp_path: Path):
    path = tar(tmp_path / "s.tar", ("a.png", picture()), ("a.txt", b"one"))
    (tmp_path / "copy").mkdir()
    shutil.copyfile(path, tmp_path / "copy" / "s.tar")
    keys = [
        [s.key for s in WebDataset(path=str(p)).shards(NOTHING)] for p in (path, tmp_path / "copy" / "s.tar")
    ]
    assert keys[0] == keys[1]
    tar(path, ("a.png", picture()), ("a.txt", b"two"))
    assert [s.key for s in WebDataset(path=str(path)).shards(NOTHING)] != keys[0]


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tars_are_read(tmp_path: Path, mode: str):
    path = tar(tmp_path / "s.tar", ("a.png", picture()), ("a.txt", b"one"), mode=mode)
    assert brief(rows(path)) == [("s.tar#a", 0, b"one", None)]


def test_paths_that_lead_out_are_only_names(tmp_path: Path):
    path = tar(tmp_path / "in.tar", ("../../evil.png", picture()), ("/etc/evil.png", picture()))
    found = rows(path)
    assert [r["error"] for r in found] == [None, None]
    assert [r["origin"] for r in found] == ["in.tar#../../evil", "in.tar#/etc/evil"]
    assert [p.name for p in tmp_path.rglob("*")] == ["in.tar"]


def test_links_devices_folders_and_hidden_members_are_passed_over(tmp_path: Path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as file:
        for name, kind in (("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("d.png", tarfile.DIRTYPE),
                           ("c.png", tarfile.CHRTYPE), ("p.png", tarfile.FIFOTYPE)):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        for name in ("._a.png", ".png", "nodot", "a.npy"):
            file.addfile(tarfile.TarInfo(name))
    assert brief(rows(path)) == [("s.tar#a", 0, None, None)]


def test_a_long_member_is_an_error_row_and_not_read(tmp_path: Path):
    path = tar(tmp_path / "s.tar", ("a.png", bytes(5000)), ("a.txt", b"x"), ("b.png", picture()))
    assert brief(rows(path, max_bytes=4000)) == [
        ("s.tar#a", 0, None, "too_large"),
        ("s.tar#b", 0, None, None),
    ]


def test_json_that_is_none_is_an_error_row(tmp_path: Path):
    path = tar(tmp_path / "s.tar", ("a.png", picture()), ("a.json", b"{"), ("b.png", picture()))
    assert brief(rows(path)) == [("s.tar#a", 0, None, "bad_row"), ("s.tar#b", 0, None, None)]


# --- broken tars


def whole(tmp_path: Path) -> bytes:
    members = [
        (f"{n}.{end}", content)
        for n in range(3)
        for end, content in (("png", bytes(1500)), ("txt", b"t%d" % n))
    ]
    return tar(tmp_path / "whole.tar", *members).read_bytes()


def test_a_tar_cut_within_a_member_keeps_what_was_read(tmp_path: Path):
    (tmp_path / "s.tar").write_bytes(whole(tmp_path)[: 3072 + 1024 + 700])  # in the second picture
    assert [(r["origin"], r["error"]) for r in rows(tmp_path / "s.tar")] == [
        ("s.tar#0", None),
        ("s.tar#1", "truncated_archive"),
        ("s.tar", "truncated_archive"),
    ]


def test_a_tar_cut_between_members_says_so_too(tmp_path: Path):
    raw = whole(tmp_path)
    (tmp_path / "s.tar").write_bytes(raw[:3072])
    assert [(r["origin"], r["error"]) for r in rows(tmp_path / "s.tar")] == [
        ("s.tar#0", None),
        ("s.tar", "truncated_archive"),
    ]


def test_garbage_in_the_middle_of_a_tar_is_not_taken_for_its_end(tmp_path: Path):
    raw = bytearray(whole(tmp_path))
    raw[3072 : 3072 + 512] = b"\xa5" * 512
    (tmp_path / "s.tar").write_bytes(raw)
    assert [r["error"] for r in rows(tmp_path / "s.tar")] == [None, "truncated_archive"]


def test_a_cut_gzip_keeps_what_was_read(tmp_path: Path):
    packed = gzip.compress(whole(tmp_path), 0)
    (tmp_path / "s.tar.gz").write_bytes(packed[: len(packed) // 2])
    found = rows(tmp_path / "s.tar.gz")
    assert found[0]["error"] is None and found[-1]["error"] == "truncated_archive"


@pytest.mark.parametrize(
    "raw", [b"", b"no tar", b"\0" * 100, b"PK\3\4" + b"x" * 2000], ids=["empty", "text", "0", "zip"]
)
def test_what_is_no_tar_is_one_error_row_and_the_others_are_read(tmp_path: Path, raw: bytes):
    (tmp_path / "0.tar").write_bytes(raw)
    tar(tmp_path / "1.tar", ("a.png", picture()))
    found = rows(tmp_path / "*.tar")
    assert [r["origin"] for r in found] == ["0.tar", "1.tar#a"]
    assert found[0]["error"] in ("not_an_archive", "truncated_archive") and found[1]["error"] is None


def test_no_tar_at_all_is_explained(tmp_path: Path):
    with pytest.raises(SourceError, match="no such file"):
        rows(tmp_path / "*.tar")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 20_000), st.binary(min_size=1, max_size=40)), max_size=6),
    keep=st.integers(0, 20_000),
    kind=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]),
)
def test_damaged_tars_give_rows(tmp_path: Path, edits, keep: int, kind: int):
    long = "long" * 40  # needs an extension header
    path = tmp_path / "s.tar"
    tar(
        path, (f"d/{long[:80]}/{long[:90]}.png", b"x" * 600), ("b.txt", b"text"), ("b.json", b"{}"), kind=kind
    )
    raw = bytearray(path.read_bytes())
    for at, content in edits:
        raw[at : at + len(content)] = content
    path.write_bytes(raw[:keep])
    found = rows(path)
    assert len({(r["origin"], r["position"]) for r in found}) == len(found)
    assert found or keep >= 512
