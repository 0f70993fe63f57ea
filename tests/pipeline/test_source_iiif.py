"""IIIF: manifests of both versions, and collections that nest and go round."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.formats.iiif_manifest import is_collection, is_manifest, manifest_rows
from pipeline.records import SourceError
from pipeline.sources.iiif import IIIF, members
from pipeline.web import harvest
from pipeline.web.source import WITHDRAWN
from tests.pipeline.iiif_library import Library, manifest2, manifest3, serve

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill

PARTS = ("label", "canvas", "summary")


@pytest.fixture
def served() -> Iterator[tuple[str, Library]]:
    with serve() as found:
        yield found


def test_version_3_gives_a_caption_for_each_language_and_canvas(served: Any, mill: Mill) -> None:
    url, library = served
    library.documents["/m3"] = manifest3(url)
    mill.take(IIIF(urls=(f"{url}/m3",), size=256))
    rows = mill.rows()
    assert [(row["position"], row["lang"], row["text"]) for row in rows] == [
        (0, "en", "Two bears\nf. 0r\nSeen at night."),
        (1, "de", "Zwei Bären\nf. 0r"),
        (0, "en", "Two bears\nf. 1r\nSeen at night."),
        (1, "de", "Zwei Bären\nf. 1r"),
    ]
    assert {(r["licence"], r["author"], r["page_url"], r["reason"]) for r in rows} == {
        ("CC-BY-4.0", "By the Bear Library", "https://h.example/bears", None)
    }
    assert len({row["document_id"] for row in rows}) == 1 and len({row["image_id"] for row in rows}) == 2
    assert {p for p in library.asked if p.startswith("/i/")} == {
        f"/i/{n}/full/!256,256/0/default.jpg" for n in (0, 1)
    }


def test_version_2_and_a_picture_without_a_service(served: Any, mill: Mill) -> None:
    url, library = served
    library.documents["/m2"] = manifest2(url)
    mill.take(IIIF(urls=(f"{url}/m2",), caption=("label", "summary", "metadata")))
    rows = mill.rows()
    assert [(row["lang"], row["text"]) for row in rows] == [
        ("en", "A map\nDrawn by hand.\nDate: 1700"),
        ("fr", "Une carte\nDrawn by hand.\nDate: 1700"),
    ]
    assert {(r["licence"], r["author"], r["page_url"], r["reason"]) for r in rows} == {
        ("CC-PDM-1.0", "Map Room", "https://h.example/map", None)
    }
    assert "/direct/7.png" in library.asked


def test_what_is_unchanged_is_not_taken_again_and_what_changed_is(served: Any, mill: Mill) -> None:
    url, library = served
    library.documents["/m3"] = manifest3(url, canvases=3)
    source = IIIF(urls=(f"{url}/m3",))
    mill.take(source)
    before = mill.rows()
    library.asked.clear()
    assert mill.take(source) == 0
    assert library.asked == ["/m3"] and mill.rows() == before
    changed = copy.deepcopy(library.documents["/m3"])
    changed["items"][1]["label"] = {"none": ["f. 1v"]}
    library.documents["/m3"] = changed
    library.asked.clear()
    mill.take(source)
    assert [path for path in library.asked if path.startswith("/i/")] == ["/i/1/full/!512,512/0/default.jpg"]
    assert [r["text"] for r in mill.rows() if r["text"] not in {b["text"] for b in before}] == [
        "Two bears\nf. 1v\nSeen at night.",
        "Zwei Bären\nf. 1v",
    ]
    del library.documents["/m3"]["label"]["de"]
    mill.take(source)
    assert [(r["position"], r["reason"]) for r in mill.rows()] == [(0, None), (1, WITHDRAWN)] * 3


def test_the_ledger_of_a_walk_that_finds_nothing_new_is_written_on_the_way(
    served: Any, mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, library = served
    monkeypatch.setattr(harvest, "MOST_ASIDES", 3)
    for n in range(10):
        library.documents[f"/m{n}"] = manifest3(url, canvases=1, id=f"{url}/m{n}")
    source = IIIF(urls=tuple(f"{url}/m{n}" for n in range(10)))
    assert mill.take(source) > 0
    assert mill.take(source) == 0
    asked = mill.rows("SELECT url, count(*) AS times FROM attempts WHERE url NOT LIKE '%/i/%' GROUP BY url")
    assert {row["url"]: row["times"] for row in asked} == {f"{url}/m{n}": 2 for n in range(10)}


def test_collections_nest_have_pages_and_may_go_round(served: Any, mill: Mill) -> None:
    url, library = served
    library.documents["/m3"], library.documents["/m2"] = manifest3(url, canvases=1), manifest2(url)
    library.documents["/top"] = {
        "@context": "http://iiif.io/api/presentation/2/context.json",
        "@id": f"{url}/top",
        "@type": "sc:Collection",
        "first": f"{url}/page1",
        "total": 3,
    }
    library.documents["/page1"] = {
        "@id": f"{url}/page1",
        "@type": "sc:Collection",
        "within": f"{url}/top",
        "manifests": [{"@id": f"{url}/m2", "@type": "sc:Manifest", "label": "m2"}],
        "next": f"{url}/page2",
    }
    library.documents["/page2"] = {
        "@id": f"{url}/page2",
        "@type": "sc:Collection",
        "members": [
            {"@id": f"{url}/top", "@type": "sc:Collection"},
            {"@id": f"{url}/gone", "@type": "sc:Manifest"},
            {
                "@id": f"{url}/inner",
                "@type": "sc:Collection",
                "collections": [{"@id": f"{url}/three", "@type": "sc:Collection"}],
            },
        ],
    }
    library.documents["/three"] = {
        "@context": "http://iiif.io/api/presentation/3/context.json",
        "id": f"{url}/three",
        "type": "Collection",
        "items": [{"id": f"{url}/m3", "type": "Manifest"}, {"id": f"{url}/three", "type": "Collection"}],
    }
    mill.take(IIIF(urls=(f"{url}/top",)))
    found = {row["origin"].removeprefix(url): row["reason"] for row in mill.rows()}
    assert found == {
        f"/m2#{url}/m2/c1": None,
        f"/m3#{url}/m3/canvas/0": None,
        "/gone": "http_404",
    }
    assert sorted(p for p in library.asked if p[1] not in "id") == [
        "/gone",
        "/m2",
        "/m3",
        "/page1",
        "/page2",
        "/three",
        "/top",
    ]


def test_what_cannot_be_used_is_a_row_that_says_why(served: Any, mill: Mill) -> None:
    url, library = served
    library.documents["/m3"] = manifest3(url, canvases=3)
    canvases = library.documents["/m3"]["items"]
    canvases[0]["items"] = []
    canvases[1]["items"][0]["items"][0]["body"] = {"id": "file:///etc/passwd", "type": "Image"}
    library.documents["/empty"] = {"id": f"{url}/empty", "type": "Manifest", "items": []}
    library.documents["/page"] = b"<html>"
    library.documents["/other"] = {"type": "Canvas"}
    names = ("m3", "empty", "page", "other", "gone")
    mill.take(IIIF(urls=tuple(f"{url}/{name}" for name in names)))
    reasons = {row["origin"].removeprefix(f"{url}/"): (row["reason"], row["detail"]) for row in mill.rows()}
    assert reasons[f"m3#{url}/m3/canvas/0"][0] == "no_picture"
    assert reasons[f"m3#{url}/m3/canvas/1"] == ("bad_url", "file:///etc/passwd")
    assert reasons[f"m3#{url}/m3/canvas/2"] == (None, None)
    assert reasons["empty"] == ("bad_row", "a manifest without canvases")
    assert reasons["page"] == ("no_manifest", "not JSON")
    assert reasons["other"][0] == "no_manifest"
    assert reasons["gone"][0] == "http_404"
    assert len(reasons) == 7


def test_canvases_that_left_and_manifests_that_are_gone_are_withdrawn(served: Any, mill: Mill) -> None:
    url, library = served
    library.documents["/m3"], library.documents["/m2"] = manifest3(url, canvases=3), manifest2(url)
    source = IIIF(urls=(f"{url}/m3", f"{url}/m2"))
    mill.take(source)
    assert {row["reason"] for row in mill.rows()} == {None}
    del library.documents["/m3"]["items"][1]
    mill.take(source)
    reasons = {row["origin"].removeprefix(url): row["reason"] for row in mill.rows()}
    assert {o: r for o, r in reasons.items() if r} == {f"/m3#{url}/m3/canvas/1": WITHDRAWN}
    left = [row for row in mill.rows() if row["reason"] == WITHDRAWN]
    assert [row["position"] for row in left] == [0, 1] and not any(row["text"] for row in left)
    assert mill.take(source) == 0
    lost = library.documents.pop("/m2")
    mill.take(source)
    reasons = {row["origin"].removeprefix(url): row["reason"] for row in mill.rows()}
    assert reasons["/m2"] == "http_404" and reasons[f"/m2#{url}/m2/c1"] == WITHDRAWN
    assert mill.take(source) == 0
    library.documents["/m2"] = lost
    mill.take(source)
    reasons = {row["origin"].removeprefix(url): row["reason"] for row in mill.rows()}
    assert reasons["/m2"] == WITHDRAWN and reasons[f"/m2#{url}/m2/c1"] is None
    library.documents["/m2"] = b"<html>Sorry"  # says nothing of what there is
    mill.take(source)
    reasons = {row["origin"].removeprefix(url): row["reason"] for row in mill.rows()}
    assert reasons["/m2"] == "no_manifest" and reasons[f"/m2#{url}/m2/c1"] is None


def test_a_canvas_in_two_copies_of_a_manifest_stays(served: Any, mill: Mill) -> None:
    url, library = served
    library.documents["/m3"] = manifest3(url, canvases=2)
    library.documents["/copy"] = manifest3(url, canvases=1)
    source = IIIF(urls=(f"{url}/copy", f"{url}/m3"))
    mill.take(source)
    assert mill.take(source) == 0 and {row["reason"] for row in mill.rows()} == {None}


def test_a_password_is_neither_shown_nor_stored(served: Any, mill: Mill) -> None:
    url, library = served
    secret = url.replace("//", "//ann:secret@")
    library.documents["/m3"] = manifest3(url, 1, homepage=[{"id": f"{secret}/home"}], id=None)
    library.documents["/bad"] = manifest3(url, 1, id=f"{secret}/bad")
    mill.take(IIIF(urls=(f"{secret}/m3", f"{secret}/bad", f"{secret}/gone")))
    rows = mill.rows()
    assert {row["page_url"] for row in rows if row["origin"].startswith(f"{url}/m3#")} == {f"{url}/home"}
    assert {row["origin"].partition("#")[0] for row in rows} == {f"{url}/{n}" for n in ("m3", "bad", "gone")}
    assert "secret" not in str(rows)
    with pytest.raises(SourceError) as told:
        next(IIIF(urls=("ftp://ann:secret@h.example",)).shards(None, None))  # type: ignore[arg-type]
    assert "secret" not in str(told.value)


def test_canvases_that_share_a_name_and_choices_keep_their_places() -> None:
    manifest = manifest3("https://l.example", canvases=2)
    manifest["items"][1]["id"] = manifest["items"][0]["id"]
    body = manifest["items"][0]["items"][0]["items"][0]["body"]
    manifest["items"][0]["items"][0]["items"][0]["body"] = {
        "type": "Choice",
        "items": [body, {**body, "id": "https://b.example"}],
    }
    found = list(manifest_rows(manifest, "https://l.example/m3", 512, PARTS))
    assert [origin for origin, _ in found] == [
        "https://l.example/m3#https://l.example/m3/canvas/0",
        "https://l.example/m3#https://l.example/m3/canvas/0#2",
    ]
    assert [rows[0]["fetch"] for _, rows in found] == [
        f"https://l.example/i/{n}/full/!512,512/0/default.jpg" for n in (0, 1)
    ]


def test_settings_name_a_manifest() -> None:
    for urls in ((), ("library.example/m",), ("file:///m.json",)):
        with pytest.raises(SourceError):
            next(IIIF(urls=urls).shards(None, None))  # type: ignore[arg-type]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, item in inner for place in places(item, (*path, key))]


DOCUMENTS = [manifest3("https://l.example", canvases=1), manifest2("https://l.example")]
PLACES = [places(document) for document in DOCUMENTS]


def check(value: Any) -> None:
    """What the reader promises of any JSON: rows with unique origins and positions, addresses that are http."""
    if is_collection(value):
        assert all(a.startswith(("http://", "https://")) for a in members(value, "https://l.example/c"))
    if is_manifest(value):
        found = list(manifest_rows(value, "https://l.example/m", 512, (*PARTS, "metadata")))
        assert found and len({origin for origin, _ in found}) == len(found)
        for origin, rows in found:
            assert origin and rows
            for row in rows:
                assert ("fetch" in row) != ("error" in row)
                assert row.get("fetch", "http://").startswith(("http://", "https://"))
                assert all(value is None or isinstance(value, str) for value in row.values())


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([0, 1]), st.integers(0, 10_000), VALUES)
@example(
    0,
    PLACES[0].index(("items", 0, "items", 0, "items", 0, "body", "service")),
    [{"id": "https://[", "profile": 2}],
)
@example(0, PLACES[0].index(("items", 0, "items", 0, "items", 0, "body", "width")), float("inf"))
@example(0, PLACES[0].index(("label",)), {"en": "not a list", "\ud800": ["x"]})
@example(1, PLACES[1].index(("sequences",)), {"canvases": [{}]})
def test_a_damaged_manifest_is_rows(which: int, place: int, value: Any) -> None:
    document = copy.deepcopy(DOCUMENTS[which])
    path = PLACES[which][place % len(PLACES[which])]
    if not path:
        check(value)
        return
    at: Any = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    check(document)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["Manifest", "Collection"]),
    st.dictionaries(
        st.sampled_from(
            [
                "label",
                "items",
                "sequences",
                "members",
                "manifests",
                "collections",
                "first",
                "next",
                "rights",
                "metadata",
                "id",
            ]
        ),
        VALUES,
    ),
)
def test_any_json_is_rows_or_no_manifest(kind: str, document: dict[str, Any]) -> None:
    check({"type": kind, **document})
    check([document])
