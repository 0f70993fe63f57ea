"""Real replies of libraries: Wikimedia Commons in its split batches, OAI-PMH with its errors, lists of other providers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.formats.oai_page import BrokenPage, parse
from pipeline.formats.wiki_pages import add_pages, continuation, page_rows
from pipeline.records import SourceError
from pipeline.sources.mediawiki import MediaWiki
from pipeline.sources.oai_pmh import OaiPmh
from pipeline.sources.url_list import UrlList
from pipeline.web.client import Web
from pipeline.web.settings import FetchSettings
from pipeline.web.source import WITHDRAWN, Known, WebSource
from tests.serving import Answer, answering

Reply = Callable[[dict[str, str]], bytes]
SPDX = {
    "CC BY-SA 4.0": "CC-BY-SA-4.0",
    "CC BY-SA 3.0 de": "CC-BY-SA-3.0-DE",
    "CC BY 4.0": "CC-BY-4.0",
    "CC0": "CC0-1.0",
    "Public domain": "Public domain",
    "No restrictions": "No restrictions",
}
"""Short names that Commons gives, and what we make of them."""
LOCAL = FetchSettings(allow=("127.0.0.0/8",), consent=(), retries=0)


@contextmanager
def serving(reply: Reply) -> Iterator[str]:
    """A server that answers a query with a stored reply."""

    def answer(path: str) -> Answer:
        return 200, {}, reply({name: values[0] for name, values in parse_qs(urlsplit(path).query).items()})

    with answering(answer) as url:
        yield f"{url}/api"


def walk(source: WebSource) -> tuple[list[dict[str, Any]], str | None]:
    """(rows, cursor) of one walk; pictures are not fetched."""
    rows: list[dict[str, Any]] = []
    with Web(LOCAL) as web:
        shards = source.shards(Known(), web)
        while True:
            try:
                rows += source.read(next(shards), web)
            except StopIteration as end:
                assert len({(row["origin"], row["position"]) for row in rows}) == len(rows)
                return rows, end.value


@pytest.fixture(scope="module")
def inputs(real_data: Callable[[str], Path]) -> Path:
    return real_data("web-library-inputs")


# --- Wikimedia Commons


@pytest.fixture(scope="module")
def commons(inputs: Path) -> dict[str, Any]:
    """Replies by name: "continuation/wmc_pretty1" …"""
    folder = inputs / "provider-api" / "wikimedia"
    return {
        path.relative_to(folder).with_suffix("").as_posix(): json.loads(path.read_bytes())
        for path in sorted(folder.rglob("*.json"))
    }


def test_properties_that_come_in_three_replies_are_merged(commons: dict[str, Any]) -> None:
    pages: dict[str, Any] = {}
    for number in (1, 2, 3):
        add_pages(pages, commons[f"continuation/wmc_pretty{number}"])
        if number == 2:
            assert pages == commons["continuation/wmc_pretty1plus2"]["query"]["pages"]
    assert pages == commons["continuation/wmc_pretty123"]["query"]["pages"]
    halves: dict[str, Any] = {}
    for side in ("left", "right"):
        add_pages(halves, {"query": {"pages": [commons[f"continuation/page_44672212_{side}"]]}})
    assert halves == {"44672212": commons["continuation/page_44672212_merged"]}


def test_a_walk_through_the_split_batches_of_commons(commons: dict[str, Any]) -> None:
    names = [f"continuation/wmc_pretty{name}" for name in ("1", "2", "3", "4", "_nocontinue")]
    asked_by: dict[tuple[str, str], str] = {}
    for before, name in pairwise(names):
        asked_by |= {(k, v): name for k, v in continuation(commons[before]).items() if k != "continue"}

    def answer(params: dict[str, str]) -> bytes:
        if params["action"] != "query":
            return b'{"error": {"code": "badvalue", "info": "Unrecognized value"}}'
        name = next((asked_by[pair] for pair in params.items() if pair in asked_by), names[0])
        return json.dumps(commons[name]).encode()

    with serving(answer) as api:
        rows, _ = walk(MediaWiki(api=api))
    wanted = {page for name in names for page in commons[name]["query"]["pages"]}
    assert {row["origin"] for row in rows} == wanted and len(wanted) == 78
    assert all(row["fetch"].startswith("https://upload.wikimedia.org/") for row in rows)
    assert not [
        row for row in rows if re.search(r"<[a-z/]|&[a-z]+;", f"{row.get('text')} {row.get('author')}")
    ]
    names_of = {
        origin: page["imageinfo"][0]["extmetadata"]["LicenseShortName"]["value"]
        for name in names
        for origin, page in commons[name]["query"]["pages"].items()
        if "imageinfo" in page
    }
    assert {row["licence"] for row in rows if names_of[row["origin"]] in SPDX} == set(SPDX.values())
    assert all(row["licence"] == SPDX.get(names_of[row["origin"]], row["licence"]) for row in rows)
    assert sum(names_of[row["origin"]] not in SPDX for row in rows) == 1  # a port without an id keeps its URI
    munch = next(row for row in rows if row["origin"] == "44672212")
    assert munch["page_url"].startswith("https://commons.wikimedia.org/wiki/File:")
    assert (munch["text"], munch["lang"]) == (
        b"Night in Nice",
        "en",
    )  # the title of a work without a description


def test_odd_pages_of_commons(commons: dict[str, Any]) -> None:
    def rows(name: str) -> list[dict[str, Any]]:
        return page_rows(commons[name], [], thumbnail=True)[1]

    def info(name: str) -> list[dict[str, Any]]:
        return page_rows({"title": "File:x", "imageinfo": [commons[name]]}, [], thumbnail=True)[1]

    assert rows("image_data_missing_imageinfo")[0]["error"] == "no_picture"
    assert rows("image_data_missing_image_url")[0]["error"] == "no_picture"
    [minimal] = rows("image_data_minimal")
    assert (minimal["fetch"], minimal["licence"]) == (
        "https://upload.wikimedia.org/image.jpg",
        "CC-BY-SA-4.0",
    )
    assert rows("image_data_html_description")[0]["text"] == (
        "Identificatie\nTitel(s): Allegorie op kunstenaar Francesco Mazzoli, bekend als Parmigianino"
    )
    assert rows("image_data_example")[0]["author"] == "PtrQs"
    assert {
        name: info(f"image_info_artist_{name}")[0]["author"]
        for name in ("div", "link", "partial_link", "string")
    } == {
        "div": "Jona Lendering",
        "link": "link text",
        "partial_link": "Jeff & Brian from Eastbourne",
        "string": "Artist Name",
    }
    assert info("image_info_missing_license_url")[0]["licence"]


# --- OAI-PMH


def oai(folder: Path, pages: dict[str, str]) -> Reply:
    """Answers with stored files: tokens of the stored lists are file names."""

    def answer(params: dict[str, str]) -> bytes:
        name = params.get("resumptionToken") or f"{params['verb']}.xml"
        return (folder / pages.get(name, name)).read_bytes()

    return answer


def test_a_harvest_of_stored_pages(inputs: Path) -> None:
    with serving(oai(inputs / "oai-pmh", {})) as url:
        rows, cursor = walk(OaiPmh(url=url))
    assert json.loads(cursor or "")["from"] == "2013-02-27T09:10:56Z"
    assert [(row["origin"], row.get("error")) for row in rows if row.get("error")] == [
        ("oai:test.example.com:1585310", WITHDRAWN),
        ("(no identifier)", "bad_row"),
    ]
    texts = [row for row in rows if not row.get("error")]
    assert {row["task"] for row in texts} == {"text"} and {row["author"] for row in texts} == {"John Doe"}
    described = [row for row in texts if row.get("lang") == "en"]
    assert described and all(
        "Sample Title\nLorem ipsum dolor sit amet" in row["text"].decode() for row in described
    )
    assert texts[0]["page_url"] == "http://test.example.com/publication/1585322"


def test_a_broken_page_ends_the_walk_and_keeps_the_rows(inputs: Path) -> None:
    with serving(oai(inputs / "oai-pmh", {"ListRecords2.xml": "ListRecordsBroken.xml"})) as url:
        rows, cursor = walk(OaiPmh(url=url))
    assert cursor is None
    assert [row.get("error") for row in rows] == [WITHDRAWN, None, "broken_listing"]
    assert "not well-formed" in rows[-1]["detail"]


CODES = "badArgument badResumptionToken cannotDisseminateFormat idDoesNotExist noSetHierarchy undefinedError"


@pytest.mark.parametrize("code", CODES.split())
def test_an_error_of_the_first_page_is_a_readable_error(inputs: Path, code: str) -> None:
    pages = {"ListRecords.xml": f"{code}.xml"}
    with (
        serving(oai(inputs / "oai-pmh", pages)) as url,
        pytest.raises(SourceError, match=f"ListRecords: {code}"),
    ):
        walk(OaiPmh(url=url))


def test_no_records_match_is_nothing_new(inputs: Path) -> None:
    with serving(oai(inputs / "oai-pmh", {"ListRecords.xml": "noRecordsMatch.xml"})) as url:
        rows, cursor = walk(OaiPmh(url=url))
    assert rows == [] and json.loads(cursor or "")["from"] == "2002-02-08T14:27:19Z"


def test_every_stored_response_is_a_page_or_no_list(inputs: Path) -> None:
    pages, refused = {}, []
    for path in sorted((inputs / "oai-pmh").glob("*.xml")):
        try:
            pages[path.stem] = parse(path.read_bytes())
        except BrokenPage:
            refused.append(path.stem)
    assert refused == [
        "ListIdentifiers",
        "ListIdentifiers2",
        "ListMetadataFormats",
        "ListRecordsBroken",
        "ListSets",
    ]
    assert [len(pages[f"ListRecords{n}"].records) for n in ("", "2", "3", "4")] == [2, 2, 2, 2]
    [utf8] = pages["GetRecord_utf8test"].records
    assert utf8.values["creator"] == [(None, "某人")]
    assert pages["Identify"].granularity == "YYYY-MM-DD"


# --- Other providers: lists of objects are read as URL lists


@pytest.mark.parametrize(
    ("name", "columns", "count"),
    [
        ("flickr/flickr_example_photo_list", {"url": "url_m", "text": "title", "author": "ownername"}, 30),
        (
            "metropolitan_museum_of_art/sample_additional_image_data",
            {"text": "title", "page_url": "foreign_landing_url"},
            3,
        ),
        (
            "metropolitan_museum_of_art/sample_image_data",
            {"text": "title", "page_url": "foreign_landing_url"},
            1,
        ),
    ],
)
def test_a_list_of_objects_is_a_url_list(
    inputs: Path, name: str, columns: dict[str, str], count: int
) -> None:
    path = inputs / "provider-api" / f"{name}.json"
    rows, _ = walk(UrlList(path=str(path), columns=columns))
    assert len(rows) == len(json.loads(path.read_bytes())) == count
    assert all(row["fetch"].startswith("https://") and row["text"] for row in rows)


def test_a_nested_reply_is_refused_in_words(inputs: Path) -> None:
    for name in (
        "stocksnap/full_response",
        "flickr/flickr_example_pretty",
        "finnishmuseums/finna_full_response_example",
    ):
        with pytest.raises(SourceError, match="should hold a JSON list of objects"):
            walk(UrlList(path=str(inputs / "provider-api" / f"{name}.json")))
