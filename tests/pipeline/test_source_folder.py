"""The folder source: texts find their pictures, only what is new comes again, and nothing leads out of it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.records import SourceError
from pipeline.sources.folder import Folder
from pipeline.step import RAW

NOTHING = pa.table({"origin": pa.array([], pa.string()), "version": pa.array([], pa.string())})


def picture(colour: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), (colour, 9, 9)).save(out, "PNG")
    return out.getvalue()


def rows(source: Folder, known: pa.Table = NOTHING) -> list[dict[str, Any]]:
    found = [batch for shard in source.shards(known) for batch in source.read(shard)]
    assert all(batch.schema.equals(RAW) for batch in found)
    return pa.Table.from_batches(found, RAW).to_pylist()


def known(found: list[dict[str, Any]]) -> pa.Table:
    return pa.table(
        {name: pa.array([row[name] for row in found], pa.string()) for name in ("origin", "version")}
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "b.PNG", "sub/c.jpeg"):
        (tmp_path / name).write_bytes(picture())
    return tmp_path


def table(root: Path, *lines: list[str], name: str = "captions.csv") -> None:
    with (root / name).open("w", newline="") as file:
        csv.writer(file, delimiter="\t" if name.endswith("tsv") else ",").writerows(lines)


def test_pictures_without_texts_are_rows_in_the_order_of_their_paths(root: Path):
    found = rows(Folder(path=str(root)))
    assert [(r["origin"], r["position"], r["text"], r["error"]) for r in found] == [
        ("a.png", 0, None, None),
        ("b.PNG", 0, None, None),
        ("sub/c.jpeg", 0, None, None),
    ]
    assert found[0]["image"] == picture()


def test_texts_beside_the_pictures(root: Path):
    (root / "a.txt").write_bytes(b"caf\xe9 \0 and so on\n")
    (root / "b.json").write_text(
        json.dumps([{"caption": "two", "lang": "en"}, {"caption": "deux", "lang": "fr"}])
    )
    (root / "sub/c.json").write_text('{"license": "CC0-1.0", "class": "cat"}')
    (root / "sub/c.txt").write_text("a cat")
    found = rows(Folder(path=str(root), lang="de", licence="MIT", task="caption", author="Ada"))
    assert [(r["origin"], r["position"], r["text"], r["lang"], r["licence"], r["label"]) for r in found] == [
        ("a.png", 0, b"caf\xe9 \0 and so on\n", "de", "MIT", None),
        ("b.PNG", 0, b"two", "en", "MIT", None),
        ("b.PNG", 1, b"deux", "fr", "MIT", None),
        ("sub/c.jpeg", 0, b"a cat", "de", "CC0-1.0", "cat"),
    ]
    assert {(r["task"], r["author"]) for r in found} == {("caption", "Ada")}


def test_texts_beside_a_picture_that_are_no_json_are_an_error_row(root: Path):
    (root / "a.json").write_bytes(b"{oops")
    found = rows(Folder(path=str(root)))
    assert [r["error"] for r in found] == ["bad_row", None, None]
    assert found[0]["image"] is None


@pytest.mark.parametrize("name", ["captions.csv", "x.tsv", "meta.jsonl", "all.parquet"])
def test_a_table_of_any_kind_is_found_and_read(root: Path, name: str):
    lines = [
        ("a.png", "one", "en"),
        ("sub/c.jpeg", "zwei", "de"),
        ("a.png", "uno", "es"),
        ("no.png", "x", "en"),
    ]
    if name.endswith("jsonl"):
        (root / name).write_text(
            "\n".join(json.dumps(dict(zip(("file_name", "text", "lang"), r))) for r in lines)
        )
    elif name.endswith("parquet"):
        pq.write_table(
            pa.table(dict(zip(("image", "caption", "language"), map(list, zip(*lines))))), root / name
        )
    else:
        table(root, ["File", "Caption", "Language"], *map(list, lines), name=name)
    found = rows(Folder(path=str(root)))
    assert [(r["origin"], r["position"], r["text"], r["lang"], r["error"]) for r in found] == [
        ("a.png", 0, b"one", "en", None),
        ("a.png", 1, b"uno", "es", None),
        ("b.PNG", 0, None, None, None),
        ("no.png", 0, b"x", "en", "missing_file"),
        ("sub/c.jpeg", 0, b"zwei", "de", None),
    ]


def test_columns_can_be_named(root: Path):
    table(root, ["pic", "question", "says", "who"], ["./a.png", "What?", "a cat", "Ada"])
    named = {"file": "pic", "text": "says", "author": "who"}
    found = rows(Folder(path=str(root), columns=named))
    assert (found[0]["prompt"], found[0]["text"], found[0]["author"]) == ("What?", b"a cat", "Ada")


def test_settings_that_do_not_fit_the_table_are_explained(root: Path):
    table(root, ["pic", "caption"], ["a.png", "x"])
    with pytest.raises(SourceError, match=r"which column holds the file.*there are pic, caption"):
        rows(Folder(path=str(root)))
    with pytest.raises(SourceError, match=r'no column "nope" for text; there are pic, caption'):
        rows(Folder(path=str(root), columns={"file": "pic", "text": "nope"}))
    with pytest.raises(ValueError, match="unknown field texts; there are file"):
        Folder(path=str(root), columns={"texts": "x"})
    table(root, ["file"], ["a.png"], name="other.csv")
    with pytest.raises(SourceError, match=r"captions.csv, other.csv: which holds the captions"):
        rows(Folder(path=str(root)))
    assert len(rows(Folder(path=str(root), metadata="other.csv"))) == 3
    assert len(rows(Folder(path=str(root), metadata=""))) == 3
    with pytest.raises(SourceError, match=r"gone\.csv: no such file"):
        rows(Folder(path=str(root), metadata="gone.csv"))
    with pytest.raises(SourceError, match="no such folder"):
        rows(Folder(path=str(root / "nowhere")))


def test_rows_that_cannot_be_used_are_error_rows(root: Path):
    table(root, ["file", "caption"], ["a.png", "x"], ["b.PNG", "y", "slipped"], ["", "no file"])
    found = {r["origin"]: r for r in rows(Folder(path=str(root)))}
    assert found["captions.csv#1"]["error"] == found["captions.csv#2"]["error"] == "bad_row"
    assert found["captions.csv#1"]["detail"] == "3 cells in 2 columns"
    assert found["b.PNG"]["text"] is None and found["b.PNG"]["error"] is None


def test_lines_of_a_table_keep_their_order_and_what_is_wrong_is_told(root: Path):
    lines = [
        '{"file": "a.png", "text": "1"}', '["file"]', '{"file": "./a.png", "text": "2"}', '"file"', '{"file": ["a.png"]}',
        '{"file": 1}', '{"file": true}', '  {"text": "3", "file": "a.png"}\t', '{"image": "b.PNG", "text": "4"}',
        r'{"file": "\ud800.png", "text": "5"}', '{"file": "a.png", "text": "6"}', '{"file": "a.png"} x', "{}", "",
    ]  # fmt: skip
    (root / "m.jsonl").write_text("\n".join(lines))
    found = rows(Folder(path=str(root)))
    assert [r["text"] for r in found if r["origin"] == "a.png"] == [b"1", b"2", b"3", b"6"]
    assert [r["text"] for r in found if r["origin"] == "b.PNG"] == [b"4"]
    wrong = {r["origin"]: (r["error"], r["detail"]) for r in found if r["error"]}
    assert wrong == {
        **{f"m.jsonl#{n}": ("bad_row", "not a JSON object") for n in (1, 3)},
        **{f"m.jsonl#{n}": ("bad_row", "states no file") for n in (4, 5, 6, 12)},
        "m.jsonl#11": ("bad_row", "not JSON"),
        r"\xed\xa0\x80.png": ("missing_file", "named in m.jsonl, not in the folder"),
    }
    assert not rows(Folder(path=str(root)), known(found))


def test_several_texts_in_one_cell_are_several_rows(root: Path):
    (root / "m.jsonl").write_text(
        '{"file": "a.png", "captions": ["one", "two"]}\n{"file": "a.png", "text": "three"}'
    )
    found = [r for r in rows(Folder(path=str(root))) if r["origin"] == "a.png"]
    assert [(r["position"], r["text"]) for r in found] == [(0, b"one"), (1, b"two"), (2, b"three")]


def test_stated_positions_and_documents_are_kept(root: Path):
    table(
        root, ["file", "document", "position"], ["a.png", "d", "7"], ["b.PNG", "d", "5"], ["b.PNG", "e", "5"]
    )
    found = rows(Folder(path=str(root)))
    assert [(r["document"], r["position"]) for r in found] == [("d", 7), ("d", 0), ("e", 1), (None, 0)]


# --- what is new


def test_only_what_is_new_or_changed_comes_again(root: Path):
    (root / "a.txt").write_text("a")
    source = Folder(path=str(root))
    first = rows(source)
    assert rows(source, known(first)) == []
    (root / "d.png").write_bytes(picture(1))
    (root / "a.txt").write_text("another")
    assert [r["origin"] for r in rows(source, known(first))] == ["a.png", "d.png"]


def test_a_changed_caption_in_the_table_brings_its_picture_again(root: Path):
    table(root, ["file", "caption"], ["a.png", "x"], ["b.PNG", "y"])
    source = Folder(path=str(root))
    first = rows(source)
    table(root, ["file", "caption"], ["b.PNG", "y"], ["a.png", "z"])
    assert [(r["origin"], r["text"]) for r in rows(source, known(first))] == [("a.png", b"z")]


def test_settings_that_change_rows_bring_them_again_and_others_do_not(root: Path):
    first = rows(Folder(path=str(root)))
    assert rows(Folder(path=str(root), shard_rows=1), known(first)) == []
    assert len(rows(Folder(path=str(root), licence="MIT"), known(first))) == 3


def test_errors_do_not_come_again_until_they_are_mended(root: Path):
    table(root, ["file", "caption"], ["a.png", "x"], ["new.png", "y"], ["", "z"])
    source = Folder(path=str(root))
    first = rows(source)
    assert [r["error"] for r in first] == [None, None, "bad_row", "missing_file", None]
    assert rows(source, known(first)) == []
    (root / "new.png").write_bytes(picture())
    assert [(r["origin"], r["error"]) for r in rows(source, known(first))] == [("new.png", None)]


def test_shards_are_equal_for_equal_content_wherever_the_folder_lies(root: Path, tmp_path_factory):
    table(root, ["file", "caption"], ["a.png", "x"])
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(root, copy, dirs_exist_ok=True)
    one, other = Folder(path=str(root), shard_rows=2), Folder(path=str(copy), shard_rows=2)
    keys = [shard.key for shard in one.shards(NOTHING)]
    assert keys == [shard.key for shard in other.shards(NOTHING)]
    assert len(set(keys)) == 2
    assert one.fingerprint() == other.fingerprint()
    assert [r["origin"] for r in rows(one)] == [r["origin"] for r in rows(other)]


def test_what_is_left_after_a_shard_was_committed_keeps_its_key(root: Path):
    for n in range(7):
        (root / f"p{n}.png").write_bytes(picture(n))
    source = Folder(path=str(root), shard_rows=2)
    shards = list(source.shards(NOTHING))
    done = [row for batch in source.read(shards[1]) for row in batch.to_pylist()]
    left = [shard.key for shard in source.shards(known(done))]
    assert left == [shard.key for shard in shards if shard is not shards[1]]


# --- odd files


def test_links_are_followed_inside_the_folder_and_never_out_of_it(root: Path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.png").write_bytes(picture())
    (root / "in.png").symlink_to("sub/c.jpeg")
    (root / "out.png").symlink_to(outside / "secret.png")
    (root / "up.png").symlink_to(f"../{root.name}/../{outside.name}/secret.png")
    (root / "dir").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "dead.png").symlink_to("nowhere.png")
    found = {
        r["origin"]: r["error"] for r in rows(Folder(path=str(root))) if r["origin"] not in ("a.png", "b.PNG")
    }
    assert found == {
        "dead.png": "missing_file",
        "dir": "outside_folder",
        "in.png": None,
        "loop": "outside_folder",
        "out.png": "outside_folder",
        "sub/c.jpeg": None,
        "up.png": "outside_folder",
    }


def test_a_path_that_leads_out_of_the_folder_is_a_missing_file(root: Path):
    table(root, ["file"], ["../secret.png"], ["/etc/passwd"], ["sub/../a.png"])
    errors = {r["origin"]: r["error"] for r in rows(Folder(path=str(root)))}
    assert errors["../secret.png"] == errors["/etc/passwd"] == errors["sub/../a.png"] == "missing_file"


def test_files_that_vanish_after_the_listing_are_error_rows(root: Path):
    source = Folder(path=str(root))
    shards = list(source.shards(NOTHING))
    (root / "a.png").unlink()
    found = [row for shard in shards for batch in source.read(shard) for row in batch.to_pylist()]
    assert [(r["origin"], r["error"]) for r in found] == [
        ("a.png", "missing_file"),
        ("b.PNG", None),
        ("sub/c.jpeg", None),
    ]


def test_a_pipe_named_like_a_picture_does_not_hang(root: Path):
    os.mkfifo(root / "pipe.png")
    assert {r["origin"]: r["error"] for r in rows(Folder(path=str(root)))}["pipe.png"] == "unreadable"


@pytest.fixture
def without_rights() -> Iterator[Path]:
    """A folder that anybody may enter, read by a user without rights even when root runs the tests."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "closed").mkdir()
        yield Path(folder)
        os.seteuid(os.getuid())


def test_files_and_folders_that_may_not_be_read_are_error_rows(without_rights: Path):
    for name in ("a.png", "b.png", "closed/c.png"):
        (without_rights / name).write_bytes(picture())
    (without_rights / "a.png").chmod(0)
    (without_rights / "closed").chmod(0)
    if os.getuid() == 0:
        os.seteuid(65534)
    found = rows(Folder(path=str(without_rights)))
    assert [(r["origin"], r["error"]) for r in found] == [
        ("a.png", "unreadable"),
        ("b.png", None),
        ("closed/", "unreadable"),
    ]


def test_a_long_file_is_not_read(root: Path):
    with (root / "huge.png").open("wb") as file:
        file.truncate(1 << 40)
    found = {r["origin"]: r for r in rows(Folder(path=str(root), max_bytes=1000))}
    assert found["huge.png"]["error"] == "too_large" and found["huge.png"]["image"] is None


def test_names_that_are_not_utf8_have_an_origin(root: Path):
    (Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe.png"))).write_bytes(picture(3))
    found = {r["origin"]: r["image"] for r in rows(Folder(path=str(root)))}
    assert found["\\xff\\xfe.png"] == picture(3)


def test_hidden_files_and_other_files_are_passed_over(root: Path):
    (root / ".hidden.png").write_bytes(picture())
    (root / ".git").mkdir()
    (root / ".git/x.png").write_bytes(picture())
    (root / "readme.md").write_text("x")
    assert len(rows(Folder(path=str(root)))) == 3


def test_a_caption_of_megabytes_comes_through_the_table(root: Path):
    table(root, ["file", "caption"], ["a.png", "x" * 2_000_000])
    assert len(rows(Folder(path=str(root)))[0]["text"]) == 2_000_000


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.one_of(
        st.binary(max_size=200),
        st.lists(st.text(max_size=20)).map(lambda ls: ("file,caption\n" + "\n".join(ls)).encode()),
        st.lists(st.dictionaries(st.sampled_from(["file", "text", "lang"]), st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
            lambda inner: st.lists(inner, max_size=3)), max_size=3), max_size=5,
        ).map(lambda values: "\n".join(map(json.dumps, values)).encode()),
    ),
    name=st.sampled_from(["m.csv", "m.tsv", "m.jsonl", "m.parquet", "m.json"]),
)  # fmt: skip
def test_any_table_gives_rows_or_a_clear_error(root: Path, raw: bytes, name: str):
    for old in ("m.csv", "m.tsv", "m.jsonl", "m.parquet", "m.json"):
        (root / old).unlink(missing_ok=True)
    (root / name).write_bytes(raw)
    try:
        found = rows(Folder(path=str(root), metadata=name))
    except SourceError as error:
        assert str(error).startswith(name) and len(str(error).splitlines()) == 1
        return
    assert {"a.png", "b.PNG", "sub/c.jpeg"} <= {r["origin"] for r in found}
    assert len({(r["origin"], r["position"]) for r in found}) == len(found)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100))
def test_any_json_beside_a_picture_gives_its_row(root: Path, raw: bytes):
    (root / "a.json").write_bytes(raw)
    found = [r for r in rows(Folder(path=str(root))) if r["origin"] == "a.png"]
    assert found and all(r["error"] in (None, "bad_row") for r in found)


def test_the_state_changes_with_any_file_that_is_listed(tmp_path: Path) -> None:
    folder = Folder(path=str(tmp_path))
    states = []

    def note() -> None:
        states.append(folder.state())
        assert folder.state() == states[-1]

    (tmp_path / "a.png").write_bytes(picture())
    note()
    for name, content in (
        ("a.txt", b"one"),
        ("a.txt", b"three"),
        ("deep/b.png", picture()),
        ("t.csv", b"file,text"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        note()
    (tmp_path / "a.png").unlink()
    note()
    assert len(set(states)) == len(states)
