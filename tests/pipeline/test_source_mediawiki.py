"""MediaWiki: an Action API that continues, splits its properties, lags, and forgets pages."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.records import SourceError
from pipeline.sources.mediawiki import MediaWiki
from pipeline.web.source import WITHDRAWN
from pipeline.web.wiki_pages import add_pages, api_error, continuation, entity_labels, page_rows, warning

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill


class Wiki:
    """The Action API's query module as its manual has it, formatversion 2.

    Pages come `batch` at a time; of a batch, the imageinfo of only `props` pages comes in one reply, and the rest
    under `iicontinue`: `batchcomplete` says when all is there.
    """

    def __init__(self, url: str) -> None:
        self.url, self.batch, self.props = url, 4, 2
        self.files: dict[int, dict[str, Any]] = {}
        self.captions: dict[int, dict[str, str]] | None = {}
        self.asked: list[dict[str, str]] = []
        self.lag = 0
        self.broken_at: int | None = None

    def add(self, number: int, description: Any = "", **info: Any) -> None:
        meta = {
            "ImageDescription": {"value": description, "source": "commons-desc-page"},
            "LicenseShortName": {"value": "CC BY-SA 4.0"},
            "LicenseUrl": {"value": "https://creativecommons.org/licenses/by-sa/4.0"},
            "Artist": {"value": '<a href="//w.example/User:Ann">Ann &amp; Bob</a>'},
        }
        self.files[number] = {
            "url": f"{self.url}/{number}.png",
            "thumburl": f"{self.url}/thumb/{number}.png",
            "descriptionurl": f"{self.url}/wiki/File:{number}.png",
            "mime": "image/png",
            "sha1": f"{number:040x}",
            "extmetadata": meta,
            **info,
        }

    def answer(self, params: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
        self.asked.append(params)
        if self.broken_at == len(self.asked):
            return {
                "error": {"code": "internal_api_error_DBQueryError", "info": "[x] Database query error."}
            }, {}
        if self.lag:
            self.lag -= 1
            return {"error": {"code": "maxlag", "info": "Waiting for db: 6 seconds lagged.", "lag": 6}}, {
                "Retry-After": "0"
            }
        if params["action"] == "wbgetentities":
            return self._entities(params), {}
        if params["action"] != "query":
            return {"error": {"code": "badvalue", "info": 'Unrecognized value for parameter "action".'}}, {}
        if "pageids" in params:
            asked = [int(number) for number in params["pageids"].split("|")]
            assert len(asked) <= 50
            here = [{"pageid": n, "ns": 6, "title": f"File:{n}.png"} for n in asked if n in self.files]
            gone = [{"pageid": n, "missing": True} for n in asked if n not in self.files]
            return {"batchcomplete": True, "query": {"pages": here + gone}}, {}
        return self._generated(params), {}

    def _generated(self, params: dict[str, str]) -> dict[str, Any]:
        prefix = {"categorymembers": "gcm", "search": "gsr", "allimages": "gai"}[params["generator"]]
        if prefix == "gcm" and not params["gcmtitle"].startswith("Category:"):
            return {
                "error": {"code": "invalidcategory", "info": "The category name you entered is not valid."}
            }
        start = int(params.get(f"{prefix}continue", "0"))
        numbers = sorted(self.files)[start : start + self.batch]
        first = int(params.get("iicontinue", "0"))
        pages: list[dict[str, Any]] = [{"pageid": n, "ns": 6, "title": f"File:{n}.png"} for n in numbers]
        for page in pages[first : first + self.props]:
            if info := self.files[page["pageid"]]:
                page["imageinfo"] = [
                    info if "iiurlwidth" in params else {k: v for k, v in info.items() if k != "thumburl"}
                ]
        reply: dict[str, Any] = {"query": {"pages": pages}}
        if first + self.props < len(numbers):
            reply["continue"] = {"iicontinue": str(first + self.props), "continue": "||"}
            if start:
                reply["continue"][f"{prefix}continue"] = str(start)
        else:
            reply["batchcomplete"] = True
            if start + self.batch < len(self.files):
                reply["continue"] = {
                    f"{prefix}continue": str(start + self.batch),
                    "continue": f"{prefix}continue||",
                }
        return reply

    def _entities(self, params: dict[str, str]) -> dict[str, Any]:
        if self.captions is None:
            return {
                "error": {
                    "code": "badvalue",
                    "info": 'Unrecognized value for parameter "action": wbgetentities.',
                }
            }
        found: dict[str, Any] = {}
        for name in params["ids"].split("|"):
            labels = self.captions.get(int(name[1:]))
            told = {lang: {"language": lang, "value": text} for lang, text in (labels or {}).items()}
            found[name] = {"id": name, "labels": told or []} if labels else {"id": name, "missing": ""}
        return {"entities": found, "success": 1}


@pytest.fixture
def wiki() -> Iterator[Wiki]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            more: dict[str, str] = {}
            if parts.path == "/w/api.php":
                reply, more = served.answer({k: v[0] for k, v in parse_qs(parts.query).items()})
                status, kind, body = 200, "application/json", json.dumps(reply).encode()
            elif parts.path.endswith(".png") and "wiki" not in parts.path:
                out = io.BytesIO()
                number = int(parts.path.rpartition("/")[2][:-4])
                Image.new("RGB", (20, 20), (number, 9, 9)).save(out, "PNG")
                status, kind, body = 200, "image/png", out.getvalue()
            else:
                status, kind, body = 200, "text/html", b"<html>"
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Wiki(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield served
        server.shutdown()


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
    source = MediaWiki(api=api(wiki), category="Bears")
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
    source = MediaWiki(api=api(wiki), category="Bears")
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
    with pytest.raises(SourceError, match="maxlag: Waiting for db"):
        mill.take(MediaWiki(api=api(wiki), captions=False))


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
