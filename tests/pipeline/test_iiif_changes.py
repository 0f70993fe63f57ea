"""IIIF Change Discovery: a library says what changed, and only that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats import iiif_changes
from pipeline.formats.iiif_changes import Changed, Page, newest_page, read_page
from pipeline.records import SourceError
from pipeline.sources.iiif import IIIF
from pipeline.web.settings import FetchSettings
from pipeline.web.source import WITHDRAWN
from tests.pipeline.iiif_library import Library, manifest3, serve

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill


def activity(kind: str, name: str, day: int, **more: Any) -> dict[str, Any]:
    """An activity of a day of May on the manifest of a name."""
    thing = {"id": f"https://l.example/{name}", "type": "Manifest"}
    return {"type": kind, "object": thing, "endTime": f"2026-05-{day:02d}T00:00:00Z", **more}


def page(*activities: Any, before: str | None = None) -> Page:
    value: dict[str, Any] = {"type": "OrderedCollectionPage", "orderedItems": list(activities)}
    if before:
        value["prev"] = {"id": before, "type": "OrderedCollectionPage"}
    found = read_page(value, "https://l.example/p")
    assert found is not None
    return found


def may(day: int) -> datetime:
    return datetime(2026, 5, day, tzinfo=UTC)


def since(pages: Iterable[Page], then: datetime | None) -> Changed:
    return iiif_changes.since(pages, then, may(31))


def names(addresses: list[str]) -> list[str]:
    return [address.rpartition("/")[2] for address in addresses]


OLD = page(activity("Create", "a", 1), activity("Create", "b", 2), activity("Create", "c", 3))
NEW = page(activity("Update", "a", 4), activity("Delete", "b", 5), activity("Update", "d", 6), before="/p1")


def test_the_newest_activity_on_a_manifest_counts() -> None:
    found = since([NEW, OLD], None)
    assert (names(found.read), names(found.gone), found.newest) == (["d", "a", "c"], ["b"], may(6))


def test_nothing_older_than_the_last_time_is_read() -> None:
    def pages() -> Iterator[Page]:
        yield NEW
        yield OLD
        pytest.fail("asked for a page that is older still")

    found = since(pages(), may(3))
    assert (names(found.read), names(found.gone)) == (["d", "a", "c"], ["b"])  # c ended in that very second
    assert names(since([NEW, OLD], may(6)).read) == ["d"]


def test_a_refresh_ends_a_first_reading_and_leaves_deletions_to_a_later_one() -> None:
    refresh = {"type": "Refresh", "startTime": "2026-05-04T00:00:00Z", "endTime": "2026-05-04T00:00:00Z"}
    pages = [
        page(refresh, activity("Create", "a", 5)),
        page(activity("Create", "x", 2), activity("Delete", "y", 3)),
    ]
    first, later = since(pages, None), since(pages, may(1))
    assert (names(first.read), names(first.gone)) == (["a"], [])
    assert (names(later.read), names(later.gone)) == (["a"], ["y"])


def test_a_time_that_has_not_come_yet_holds_nothing_up() -> None:
    far = {**activity("Create", "a", 1), "endTime": "2099-01-01T00:00:00Z"}
    assert since([page(far)], None).newest == may(31)


def test_a_moved_manifest_is_gone_here_and_new_there() -> None:
    there = {"id": "https://l.example/new", "type": "Manifest"}
    found = since([page(activity("Move", "old", 2, target=there))], None)
    assert (names(found.read), names(found.gone)) == (["new"], ["old"])


def test_what_is_no_activity_on_a_manifest_is_left_out() -> None:
    collection = {"type": "Update", "object": {"id": "https://l.example/c", "type": "Collection"}}
    odd = [
        "text",
        None,
        {},
        {"type": ["Create"]},
        activity("Like", "x", 1),
        {"type": "Create", "object": "x"},
        collection,
    ]
    undated = {**activity("Create", "a", 1), "endTime": "yesterday"}
    assert since([page(*odd, undated)], may(1)).read == ["https://l.example/a"]


def test_only_what_changed_is_asked_for(mill: Mill) -> None:
    with serve() as (url, library):
        fill(
            url,
            library,
            activity("Create", "m1", 1),
            activity("Create", "m2", 1),
            activity("Create", "m3", 2),
        )
        source = IIIF(changes=f"{url}/changes")
        mill.take(source)
        assert {row["reason"] for row in mill.rows()} == {None} and len(mill.rows()) == 6
        library.asked.clear()
        assert mill.take(source) == 0
        assert library.asked == ["/changes", "/page1", "/m3"]  # ended in the second in which we stopped

        library.documents["/m1"]["items"][0]["label"] = {"none": ["another folio"]}
        fill(
            url,
            library,
            activity("Create", "m1", 1),
            activity("Update", "m1", 3),
            activity("Delete", "m2", 4),
        )
        library.asked.clear()
        mill.take(source)
        asked = [path for path in library.asked if not path.startswith("/i/")]
        assert asked == ["/changes", "/page1", "/m1"]
        found = {row["origin"].partition("#")[0].rpartition("/")[2]: row["reason"] for row in mill.rows()}
        assert found == {"m1": None, "m2": WITHDRAWN, "m3": None}
        assert "Two bears\nanother folio\nSeen at night." in {row["text"] for row in mill.rows()}


def test_what_failed_is_asked_for_again_though_it_did_not_change(mill: Mill) -> None:
    with serve() as (url, library):
        fill(url, library, activity("Create", "m1", 1), activity("Create", "m2", 2))
        source = IIIF(changes=f"{url}/changes")
        mill.take(source)
        fill(url, library, activity("Update", "m1", 8), activity("Update", "m2", 9))
        library.documents["/m1"]["items"][0]["label"] = {"none": ["another folio"]}
        library.status["/m1"] = 403
        mill.take(source)  # ours, and not to be read: the cursor goes on and names it
        library.status.clear()
        library.asked.clear()
        mill.take(source)
        assert "/m1" in library.asked
        assert any("another folio" in (row["text"] or "") for row in mill.rows())


def test_a_picture_that_failed_is_tried_again_and_a_name_that_leads_nowhere_withdraws_nothing(
    mill: Mill,
) -> None:
    soon = FetchSettings(allow=("127.0.0.0/8",), consent=(), retries=0, retry_later=0, decoders=1)
    with serve() as (url, library):
        fill(url, library, activity("Create", "m1", 1))
        library.documents["/m1"]["id"] = f"{url}/only-a-name"
        library.status["/i/0/full/!512,512/0/default.jpg"] = 503
        for source in (IIIF(changes=f"{url}/changes"), IIIF(urls=(f"{url}/m1",), changes=f"{url}/changes")):
            mill.take(source, settings=soon)
            assert {row["reason"] for row in mill.rows()} == {"http_503"}
        library.status.clear()
        mill.take(source, settings=soon)
        assert {row["reason"] for row in mill.rows()} == {None}


def shelf(url: str, library: Library, *numbers: int) -> None:
    manifests = [{"id": f"{url}/m{n}", "type": "Manifest"} for n in numbers]
    library.documents["/shelf"] = {"type": "Collection", "items": manifests}


def test_of_a_collection_what_is_new_or_changed_is_read_and_of_the_library_nothing_else(mill: Mill) -> None:
    with serve() as (url, library):
        fill(url, library, activity("Update", "m1", 7), before="/page0")
        shelf(url, library, 1, 2)
        source = IIIF(urls=(f"{url}/shelf",), changes=f"{url}/changes")
        mill.take(source)
        assert len(mill.rows()) == 4
        assert "/page0" not in library.asked  # where the stream stands is on its newest page
        fill(
            url,
            library,
            activity("Update", "m1", 7),
            activity("Update", "m3", 8),
            activity("Update", "m2", 9),
        )
        shelf(url, library, 1, 2, 4)
        library.documents["/m4"] = manifest3(url, canvases=1, id=f"{url}/m4")
        library.asked.clear()
        mill.take(source)
        asked = [path for path in library.asked if not path.startswith("/i/")]
        assert asked[:3] == ["/changes", "/page1", "/shelf"]
        assert set(asked[3:]) == {"/m1", "/m2", "/m4"}  # not m3, which is not on the shelf
        assert len(mill.rows()) == 6


def test_a_library_that_could_not_be_walked_is_walked_again(mill: Mill) -> None:
    with serve() as (url, library):
        fill(url, library, activity("Update", "m1", 7))
        shelf(url, library, 1, 2)
        source = IIIF(urls=(f"{url}/shelf",), changes=f"{url}/changes")
        library.status["/shelf"] = 403
        mill.take(source)
        library.status.clear()
        mill.take(source)
        assert len([row for row in mill.rows() if row["reason"] is None]) == 4


def test_another_collection_is_walked_whole(mill: Mill) -> None:
    with serve() as (url, library):
        fill(url, library, activity("Update", "m1", 7))
        mill.take(IIIF(urls=(f"{url}/m1",), changes=f"{url}/changes"))
        mill.take(IIIF(urls=(f"{url}/m1", f"{url}/m2"), changes=f"{url}/changes"))
        assert len(mill.rows()) == 4


def test_a_stream_that_is_none_is_an_error(mill: Mill) -> None:
    with serve() as (url, library):
        library.documents["/m1"] = manifest3(url)
        for wrong, why in (("m1", "not a stream of changes"), ("nothing", "http_404")):
            with pytest.raises(SourceError, match=why):
                mill.take(IIIF(changes=f"{url}/{wrong}"))
        library.documents["/changes"] = {"type": "OrderedCollection", "last": {"id": f"{url}/m1"}}
        with pytest.raises(SourceError, match="not a page of changes"):
            mill.take(IIIF(changes=f"{url}/changes"))


def fill(url: str, library: Library, *activities: dict[str, Any], before: str = "") -> None:
    """Manifests m1 to m3 of one canvas and two languages, and a stream of one page."""
    for n in (1, 2, 3):
        library.documents.setdefault(f"/m{n}", manifest3(url, canvases=1, id=f"{url}/m{n}"))
    for one in activities:
        one["object"]["id"] = one["object"]["id"].replace("https://l.example", url)
    library.documents["/changes"] = {"type": "OrderedCollection", "last": {"id": f"{url}/page1"}}
    library.documents["/page1"] = {"type": "OrderedCollectionPage", "orderedItems": list(activities)}
    if before:
        library.documents["/page1"]["prev"] = {"id": url + before}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["Create", "Delete", "Move", "Refresh", "Add"]),
    st.dictionaries(st.sampled_from(["object", "target", "endTime", "type"]), VALUES),
    VALUES,
)
def test_any_json_is_changes_or_none(kind: str, damaged: dict[str, Any], other: Any) -> None:
    whole = {"type": "OrderedCollectionPage", "orderedItems": [{**activity(kind, "a", 1), **damaged}, other]}
    found = read_page(whole, "https://l.example/p")
    assert found is not None
    told = since([found], None)
    assert all(address.startswith(("http://", "https://")) for address in [*told.read, *told.gone])
    for value in (
        other,
        {"type": "OrderedCollection", "last": other},
        {"type": "OrderedCollectionPage", "prev": other},
    ):
        newest_page(value, "https://l.example")
        read_page(value, "https://l.example")
