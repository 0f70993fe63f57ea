"""Saved replies of APIs as lists: where the rows lie in a document, dotted names of columns, licences by their URIs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dotted import Absent, at_path
from pipeline.records import SourceError
from pipeline.sources.folder import Folder
from pipeline.sources.url_list import UrlList
from pipeline.web.client import Web
from pipeline.web.source import Known

REPLY = {
    "photos": {
        "page": 1,
        "photo": [
            {
                "id": "p1",
                "shownBy": ["https://h.test/1.jpg"],
                "title": ["a bear", "ein Bär"],
                "rights": {"link": "http://creativecommons.org/licenses/by/4.0/deed.fi", "name": "CC BY 4.0"},
            },
            {
                "id": "p2",
                "shownBy": [],
                "title": ["a wolf"],
                "rights": {"link": None, "name": "In copyright"},
            },
        ],
    }
}


def saved(tmp_path: Path, value: Any, name: str = "reply.json") -> str:
    (tmp_path / name).write_text(json.dumps(value))
    return str(tmp_path / name)


def rows(**settings: Any) -> list[dict[str, Any]]:
    source, web = UrlList(**settings), Web()
    return [row for shard in source.shards(Known(), web) for row in source.read(shard, web)]


def versions(**settings: Any) -> list[list[Any]]:
    return [r for s in UrlList(**settings).shards(Known(), Web()) for r in [s.key, *s.payload["rows"]]]


def test_a_path_leads_to_what_lies_there():
    assert at_path(REPLY, "photos.photo.0.shownBy.0") == "https://h.test/1.jpg"
    assert at_path(REPLY, "") is REPLY
    assert at_path(REPLY, "photos.photo.9.id.deeper") is None
    for path, said in [
        ("photos.foto", 'no "foto": "photos" is an object of page, photo'),
        ("foto", 'no "foto": it is an object of photos'),
        ("photos.page.x", 'no "x": "photos.page" is 1'),
        ("photos.photo.id", 'no "id": "photos.photo" is a list of 2'),
    ]:
        with pytest.raises(Absent) as error:
            at_path(REPLY, path)
        assert str(error.value) == said


def test_rows_lie_where_items_says(tmp_path: Path):
    columns = {"url": "shownBy", "text": "title", "licence": "rights.link", "author": "id"}
    found = rows(path=saved(tmp_path, REPLY), items="photos.photo", columns=columns)
    assert [(r["origin"], r["position"], r.get("text"), r.get("licence")) for r in found] == [
        ("https://h.test/1.jpg", 0, b"a bear", "CC-BY-4.0"),
        ("https://h.test/1.jpg", 1, "ein Bär".encode(), "CC-BY-4.0"),
        ("reply.json#1", 0, None, None),
    ]
    assert found[2]["error"] == "bad_row"
    dotted = columns | {"url": "shownBy.0", "licence": "rights.name"}
    found = rows(path=saved(tmp_path, REPLY), items="photos.photo", columns=dotted)
    assert [r.get("licence") for r in found] == ["CC-BY-4.0", "CC-BY-4.0", None]


def test_one_object_is_a_list_of_one_and_a_reply_may_be_empty(tmp_path: Path):
    path = saved(tmp_path, {"data": {"pic": "1", "tags": None}})
    columns = {"url": "pic", "text": "tags.0.term"}
    [row] = rows(path=path, items="data", columns=columns, base_url="https://h.test/{}.jpg")
    assert (row["origin"], row["fetch"], row["text"]) == ("1", "https://h.test/1.jpg", None)
    assert rows(path=saved(tmp_path, {"data": []}), items="data", columns=columns) == []
    assert [r["url"] for r in rows(path=saved(tmp_path, [{"url": "x"}]), items="")] == ["x"]


def test_dotted_names_need_no_items_and_a_column_of_that_name_comes_first(tmp_path: Path):
    (tmp_path / "l.csv").write_text("a.url,b\nhttps://h.test/1,one\n")
    assert [r["url"] for r in rows(path=str(tmp_path / "l.csv"), columns={"url": "a.url"})] == [
        "https://h.test/1"
    ]
    (tmp_path / "l.jsonl").write_text('{"a": {"url": "u1"}}\n{"a": {"url": "u2"}, "a.url": "u3"}\n')
    assert [r["url"] for r in rows(path=str(tmp_path / "l.jsonl"), columns={"url": "a.url"})] == ["u1", "u3"]


@pytest.mark.parametrize(
    ("value", "items", "columns", "said"),
    [
        (REPLY, None, {}, r"should hold a JSON list of objects: it is an object of photos; say items"),
        (REPLY, "photos.foto", {}, r'items = "photos.foto": no "foto": "photos" is an object of page, photo'),
        (REPLY, "photos.page", {}, r'items = "photos.page": it is 1, not a list'),
        (REPLY, "photos.photo", {}, r"which column holds the url.*there are id, shownBy, title, rights"),
        (REPLY, "photos.photo", {"url": "rights.uri"}, r'url = "rights.uri": no "uri": "rights" is an obj.*link'),
        (REPLY, "photos.photo", {"url": "pic.0"}, r'no column "pic.0" for url; there are id'),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_explained(
    tmp_path: Path, value: Any, items: str | None, columns: dict[str, str], said: str
):
    with pytest.raises(SourceError, match=said):
        rows(path=saved(tmp_path, value), items=items, columns=columns)


def test_items_are_for_json(tmp_path: Path):
    (tmp_path / "l.csv").write_text("url\nx\n")
    with pytest.raises(SourceError, match=r"l.csv: items are looked for in .json files"):
        rows(path=str(tmp_path / "l.csv"), items="a")
    (tmp_path / "l.json").write_text("{")
    with pytest.raises(SourceError, match=r"l.json: not JSON"):
        rows(path=str(tmp_path / "l.json"), items="a")


def test_licences_are_ids_where_a_list_states_uris(tmp_path: Path):
    stated = {
        "https://creativecommons.org/licenses/by-sa/3.0/": "CC-BY-SA-3.0",
        "http://rightsstatements.org/vocab/InC/1.0/": "http://rightsstatements.org/vocab/InC/1.0/",
        "CC-BY-4.0": "CC-BY-4.0",
        "CC BY 4.0": "CC BY 4.0",
        "see https://creativecommons.org/licenses/by/4.0/": "see https://creativecommons.org/licenses/by/4.0/",
        "MIT": "MIT",
    }
    path = saved(tmp_path, [{"url": str(n), "license": text} for n, text in enumerate(stated)])
    assert [row["licence"] for row in rows(path=path)] == list(stated.values())
    assert [row["licence"] for row in rows(path=path, items="")] == [
        "CC-BY-SA-3.0", "http://rightsstatements.org/vocab/InC/1.0/", "CC-BY-4.0", "CC-BY-4.0", "CC-BY-4.0", "MIT",
    ]  # fmt: skip


def test_lists_without_items_have_the_identities_that_they_had(tmp_path: Path):
    """Keys and versions as they were before `items` came."""
    lines = [{"url": "1.png", "text": ["a", "b"], "licence": "CC-BY-4.0"}, {"url": ["2.png"]}, {"text": "x"}]
    assert versions(path=saved(tmp_path, lines, "l.json")) == BEFORE


def test_a_folder_s_table_may_be_a_reply(tmp_path: Path):
    (tmp_path / "1.png").write_bytes(b"x")
    saved(tmp_path, {"records": [{"images": ["1.png"], "title": "one", "rights": {"text": "CC BY 4.0"}}]})
    source = Folder(
        path=str(tmp_path),
        metadata="reply.json",
        items="records",
        columns={"file": "images.0", "text": "title", "licence": "rights.text"},
    )
    none = Known().rows
    [row] = [
        row for shard in source.shards(none) for batch in source.read(shard) for row in batch.to_pylist()
    ]
    assert (row["origin"], row["image"], row["text"], row["licence"]) == ("1.png", b"x", b"one", "CC-BY-4.0")


NAMES = st.sampled_from(["url", "text", "a", "0", "lang", "licence", "position"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=JSON | st.lists(st.dictionaries(NAMES, JSON)),
    items=st.sampled_from([None, "", "a", "a.0", "url", "0.a"]),
    url=st.sampled_from(["url", "url.0", "a.url", "text.a.0"]),
)
def test_any_json_gives_rows_or_a_clear_error(tmp_path: Path, value: Any, items: str | None, url: str):
    path = saved(tmp_path, value)
    try:
        found = rows(path=path, items=items, columns={"url": url})
    except SourceError as error:
        assert str(error) and len(str(error).splitlines()) == 1
        return
    assert len({(row["origin"], row["position"]) for row in found}) == len(found)
    assert all(row.get("error") or isinstance(row["fetch"], str) for row in found)


@pytest.mark.parametrize("depth", [50, 900, 975, 990, 100_000])
def test_json_nested_too_deep_is_an_error_in_words(tmp_path: Path, depth: int):
    (tmp_path / "d.json").write_text('[{"url": "x", "text": ' + "[" * depth + "]" * depth + "}]")
    try:
        assert rows(path=str(tmp_path / "d.json"), items="")
    except SourceError as error:
        assert "not JSON" in str(error)


BEFORE: list[Any] = [
    "9f38b9f00043e33c86c22f474503cb98",
    ["1.png", 0, "16c2af655cb31e96", '{"text": ["a", "b"], "licence": "CC-BY-4.0"}', None, "1.png"],
    ["l.json#1", 0, "bcb29e9d0b59afcb", "", "states no url", ""],
    ["l.json#2", 0, "bcb29e9d0b59afcb", "", "states no url", ""],
]
