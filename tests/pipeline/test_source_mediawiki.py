"""MediaWiki: an Action API that continues, splits its properties, lags, and forgets pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.collect import Origin
from pipeline.formats.wiki_pages import add_pages, api_error, continuation, entity_labels, page_rows, warning
from pipeline.records import SourceError
from pipeline.sources import mediawiki as module
from pipeline.sources.mediawiki import MediaWiki
from pipeline.web import intake
from pipeline.web.source import WITHDRAWN
from tests.pipeline.conftest import LOCAL
from tests.pipeline.wiki import Wiki, serve

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill


@pytest.fixture
def wiki() -> Iterator[Wiki]:
    with serve() as found:
        yield found


def api(wiki: Wiki) -> str:
    return f"{wiki.url}/w/api.php"


def test_every_file_comes_once_through_split_batches(wiki: Wiki, mill: Mill) -> None:
    for number in range(1, 12):
        wiki.add(number, f"<p>File <b>{number}</b></p>")
    mill.take(MediaWiki(api=api(wiki), category="Bears", captions=False))
    rows = mill.rows()
    assert {row["origin"]: row["text"] for row in rows} == {str(n): f"File {n}" for n in range(1, 12)}
    assert len(rows) == 11 and all(row["reason"] is None and row["image_id"] for row in rows)
    assert {(r["licence"], r["author"]) for r in rows} == {("CC-BY-SA-4.0", "Ann & Bob")}
    assert (
        rows[0]["page_url"] == f"{wiki.url}/wiki/File:1.png" and rows[0]["url"] == f"{wiki.url}/thumb/1.png"
    )
    assert len(wiki.asked) == 6 and {asked["gcmtitle"] for asked in wiki.asked} == {"Category:Bears"}
    assert {asked["maxlag"] for asked in wiki.asked} == {"5"}
    mill.take(MediaWiki(api=api(wiki), size=0, captions=False), name="originals")
    assert {r["url"] for r in mill.rows() if r["source"] == "originals"} == {
        f"{wiki.url}/{n}.png" for n in range(1, 12)
    }


def test_captions_and_descriptions_in_their_languages(wiki: Wiki, mill: Mill) -> None:
    wiki.add(1, {"_type": "lang", "en": "A <i>bear</i> at night", "de": "Ein Bär"})
    wiki.add(
        2,
        '<div lang="fr"><span class="language fr">Français:</span> Un ours</div><div lang="en">One bear</div>',
    )
    wiki.add(3, "")
    wiki.files[3]["extmetadata"]["ObjectName"] = {"value": "3"}  # no more than the file's name
    wiki.captions = {1: {"en": "Bear", "es": "Oso"}}
    mill.take(MediaWiki(api=api(wiki), search="bear"))
    assert [(r["origin"], r["position"], r["lang"], r["text"]) for r in mill.rows()] == [
        ("1", 0, "en", "Bear"),
        ("1", 1, "es", "Oso"),
        ("1", 2, "en", "A bear at night"),
        ("1", 3, "de", "Ein Bär"),
        ("2", 0, "fr", "Un ours"),
        ("2", 1, "en", "One bear"),
        ("3", 0, None, None),
    ]


def test_a_wiki_without_structured_data_is_asked_once_for_it(wiki: Wiki, mill: Mill) -> None:
    for number in range(1, 10):
        wiki.add(number, f"File {number}")
    wiki.captions = None
    mill.take(MediaWiki(api=api(wiki)))
    assert len(mill.rows()) == 9
    assert sum(asked["action"] == "wbgetentities" for asked in wiki.asked) == 1


def test_unchanged_files_are_left_and_changed_ones_taken_again(wiki: Wiki, mill: Mill) -> None:
    for number in range(1, 4):
        wiki.add(number, f"File {number}")
    source = MediaWiki(api=api(wiki), category="Bears", full_days=0)
    mill.take(source)
    assert mill.take(source) == 0
    wiki.files[2]["sha1"] = "f" * 40  # a new upload
    wiki.files[3]["extmetadata"]["ImageDescription"]["value"] = "File 3, told better"
    before = {row["origin"]: row["version"] for row in mill.rows()}
    mill.take(source)
    after = {row["origin"]: row["version"] for row in mill.rows()}
    assert [origin for origin in after if after[origin] != before[origin]] == ["2", "3"]


def test_deleted_files_are_withdrawn_and_files_moved_out_of_the_category_are_not(
    wiki: Wiki, mill: Mill
) -> None:
    for number in range(1, 4):
        wiki.add(number, {"en": f"File {number}", "de": f"Datei {number}"})
    source = MediaWiki(api=api(wiki), category="Bears", full_days=0)
    mill.take(source)
    moved = wiki.files.pop(3)
    del wiki.files[1]
    listing, wiki.files = wiki._generated, {**wiki.files, 3: moved}
    wiki._generated = lambda params: {
        "batchcomplete": True,
        "query": {"pages": listing(params)["query"]["pages"][:1]},
    }  # type: ignore[method-assign]
    mill.take(source)
    reasons = [(row["origin"], row["reason"]) for row in mill.rows()]
    assert reasons == [("1", WITHDRAWN), ("1", WITHDRAWN), ("2", None), ("2", None), ("3", None), ("3", None)]
    assert mill.take(source) == 0


def test_a_lagging_wiki_is_waited_for(wiki: Wiki, mill: Mill) -> None:
    wiki.add(1, "One")
    wiki.lag = 3
    mill.take(MediaWiki(api=api(wiki), captions=False))
    assert [row["text"] for row in mill.rows()] == ["One"] and len(wiki.asked) == 4
    wiki.lag = 99
    mill.take(MediaWiki(api=api(wiki), captions=False))  # for longer than we wait: the other sources go on
    [row] = [row for row in mill.rows() if row["reason"]]
    assert row["reason"] == "broken_listing" and row["detail"].startswith("maxlag: Waiting for db")


def test_an_error_in_the_middle_keeps_what_came_before(wiki: Wiki, mill: Mill) -> None:
    for number in range(1, 10):
        wiki.add(number, f"File {number}")
    wiki.broken_at = 3
    source = MediaWiki(api=api(wiki), captions=False)
    mill.take(source)
    rows = mill.rows()
    assert [row["reason"] for row in rows] == ["broken_listing", None, None, None, None]
    assert rows[0]["detail"] == "internal_api_error_DBQueryError: [x] Database query error."
    mill.take(source)
    assert sum(row["reason"] is None for row in mill.rows()) == 9


def test_errors_of_the_api_are_readable(wiki: Wiki, mill: Mill) -> None:
    with pytest.raises(SourceError, match="invalidcategory: The category name"):
        mill.take(MediaWiki(api=api(wiki), category="Bad:Name"))
    with pytest.raises(SourceError, match="is this the address of"):
        mill.take(MediaWiki(api=f"{wiki.url}/wiki/Main_Page"))
    with pytest.raises(SourceError, match="should begin with http"):
        mill.take(MediaWiki(api="commons.wikimedia.org"))
    with pytest.raises(ValueError, match="say one of them"):
        MediaWiki(api=api(wiki), category="a", search="b")


def test_what_is_no_picture_is_a_row_that_says_why(wiki: Wiki, mill: Mill) -> None:
    wiki.add(1, "Sound", mime="audio/ogg")
    wiki.add(2, "Hidden", url=None, thumburl=None, filehidden=True)
    wiki.files[3] = {}
    mill.take(MediaWiki(api=api(wiki), captions=False))
    assert {row["origin"]: (row["reason"], row["detail"]) for row in mill.rows()} == {
        "1": ("not_an_image", "audio/ogg"),
        "2": ("no_picture", "its file is missing"),
        "3": ("no_picture", "a page without a file"),
    }


def test_a_warning_explains_why_pages_have_no_file(wiki: Wiki, mill: Mill) -> None:
    wiki.files[1] = {}
    listing = wiki._generated
    warned = {"query": {"warnings": 'Unrecognized value for parameter "prop": imageinfo'}}
    wiki._generated = lambda params: {**listing(params), "warnings": warned}  # type: ignore[method-assign]
    mill.take(MediaWiki(api=api(wiki), captions=False))
    assert [(r["reason"], r["detail"]) for r in mill.rows()] == [("no_picture", warned["query"]["warnings"])]


def test_continuations_that_go_round_come_to_an_end(wiki: Wiki, mill: Mill) -> None:
    for number in range(1, 10):
        wiki.add(number, f"File {number}")
    listing = wiki._generated
    same = {"gaicontinue": "4", "continue": "gaicontinue||"}
    wiki._generated = lambda params: {**listing(params), "batchcomplete": True, "continue": same}  # type: ignore[method-assign]
    mill.take(MediaWiki(api=api(wiki), captions=False))
    assert [row["reason"] for row in mill.rows()].count("broken_listing") == 1


def test_a_limit_is_a_step_of_the_way(wiki: Wiki, mill: Mill) -> None:
    for number in range(1, 10):
        wiki.add(number, f"File {number}")
    counts = []
    for _ in range(3):
        mill.take(MediaWiki(api=api(wiki), captions=False, limit=4))
        counts.append(len(mill.rows()))
    assert counts == [4, 8, 9]


@pytest.mark.parametrize("category", [None, "Bears"])
def test_a_night_lists_what_is_new_and_asks_again_for_what_is_due(
    wiki: Wiki, mill: Mill, category: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = datetime(2026, 5, 1, tzinfo=UTC)
    monkeypatch.setattr(module, "now", lambda: day)
    soon = LOCAL.model_copy(update={"retry_later": 0.0})
    for number in range(1, 10):
        wiki.add(number, f"File {number}")
    source = MediaWiki(api=api(wiki), category=category, captions=False)
    wiki.lost = {2, 3}
    mill.take(source, settings=soon)
    assert sum(row["reason"] is None for row in mill.rows()) == 7
    wiki.add(10, "New")
    wiki.added[10] = "2026-05-01T20:00:00Z"
    wiki.files[1]["extmetadata"]["ImageDescription"]["value"] = "File 1, told better"
    del wiki.files[3], wiki.files[4]
    wiki.lost, day = set(), day + timedelta(days=1)
    wiki.asked.clear()
    mill.take(source, settings=soon)
    assert [asked.get("pageids", "") for asked in wiki.asked] == ["", "2|3"]
    told = {row["origin"]: (row["reason"], row["text"]) for row in mill.rows()}
    assert told["10"] == (None, "New") and told["2"] == (None, "File 2")
    assert told["3"] == (WITHDRAWN, None) and told["4"] == (None, "File 4") and told["1"] == (None, "File 1")
    day += timedelta(days=7)
    mill.take(source, settings=soon)
    told = {row["origin"]: (row["reason"], row["text"]) for row in mill.rows()}
    assert told["4"] == (WITHDRAWN, None) and told["1"] == (None, "File 1, told better")
    wiki.asked.clear()
    mill.take(source, settings=soon)
    assert len(wiki.asked) == 1 and mill.taken.urls == 0  # from now on by the new cursor
    mill.take(source.model_copy(update={"category": "Others"}), settings=soon)
    assert not any("start" in name for name in wiki.asked[1])  # the cursor names the list


def test_a_wiki_that_is_down_for_a_night_is_a_row_and_keeps_the_cursor(wiki: Wiki, mill: Mill) -> None:
    wiki.add(1, "One")
    source = MediaWiki(api=api(wiki), captions=False)
    mill.take(source)
    before = intake.cursor(mill.store, Origin("web", source))
    wiki.lost = {0}
    mill.take(source)
    assert [r["detail"][:8] for r in mill.rows() if r["reason"] == "broken_listing"] == ["http_503"]
    assert before is not None and intake.cursor(mill.store, Origin("web", source)) == before
    wiki.lost = set()
    mill.take(source)
    assert [r["reason"] for r in mill.rows() if r["reason"]] == [WITHDRAWN]
    assert mill.take(source) == 0


def test_a_password_is_used_and_neither_shown_nor_stored(wiki: Wiki, mill: Mill) -> None:
    secret = wiki.url.replace("//", "//ann:secret@")
    for address in (f"{secret}/wiki/Main_Page", secret.replace("http", "ftp")):
        with pytest.raises(SourceError) as told:
            mill.take(MediaWiki(api=address))
        assert "127.0.0.1" in str(told.value) and "secret" not in str(told.value)
    wiki.add(1, "One", descriptionurl=f"{secret}/wiki/File:1.png")
    mill.take(MediaWiki(api=f"{secret}/w/api.php"))
    assert [row["page_url"] for row in mill.rows()] == [f"{wiki.url}/wiki/File:1.png"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = [
    "pageid",
    "title",
    "imageinfo",
    "missing",
    "extmetadata",
    "ImageDescription",
    "value",
    "url",
    "thumburl",
    "mime",
]
PAGES = st.dictionaries(
    st.sampled_from(NAMES[:4]), VALUES | st.lists(st.dictionaries(st.sampled_from(NAMES[4:]), VALUES))
)


REPLIES = st.dictionaries(
    st.sampled_from(["error", "errors", "query", "continue", "warnings", "entities"]), VALUES
)


@settings(max_examples=300, deadline=None)
@given(VALUES | REPLIES, PAGES)
def test_any_json_is_pages_or_an_error(reply: Any, page: dict[str, Any]) -> None:
    pages: dict[str, Any] = {}
    if api_error(reply) is None:
        add_pages(pages, reply)
        entity_labels(reply)
        assert isinstance(warning(reply), str)
        assert all(isinstance(value, str) for value in continuation(reply).values())
    add_pages(pages, {"query": {"pages": [page]}})
    for found in pages.values():
        _, rows = page_rows(found, [], True)
        assert rows and all(("fetch" in row) != ("error" in row) for row in rows)
        assert MediaWiki(api="https://w.example/w/api.php").page_group(found, [])
