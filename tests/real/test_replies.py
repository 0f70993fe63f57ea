"""Real replies of providers' APIs, saved as they came, and a list of URLs: listed as they would be collected."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.records import SourceError
from pipeline.sources.url_list import UrlList
from pipeline.web.client import Web
from pipeline.web.source import Known


@pytest.fixture(scope="module")
def replies(real_data: Callable[[str], Path]) -> Path:
    return real_data("web-library-inputs") / "provider-api"


def rows(path: Path | str, **settings: Any) -> list[dict[str, Any]]:
    source, web = UrlList(path=str(path), **settings), Web()
    found = [row for shard in source.shards(Known(), web) for row in source.read(shard, web)]
    assert len({(row["origin"], row["position"]) for row in found}) == len(found)
    return found


def usable(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in found if not row.get("error")]


def test_flickr(replies: Path) -> None:
    path = replies / "flickr" / "flickr_example_pretty.json"
    photos = json.loads(path.read_bytes())["photos"]["photo"]
    columns = {"url": "url_m", "text": "description._content", "author": "ownername"}
    found = rows(path, items="photos.photo", columns=columns)
    assert len(found) == len(photos) == 30
    assert [row["fetch"] for row in found] == [photo["url_m"] for photo in photos]
    assert [row["text"].decode() for row in found] == [photo["description"]["_content"] for photo in photos]
    assert [row["author"] for row in found] == [photo["ownername"] for photo in photos]
    assert {row["licence"] for row in found} == {"1"}  # Flickr's own number, which is no licence's name
    large = rows(path, items="photos.photo", columns={"url": "url_l"})
    assert (len(usable(large)), len(large)) == (28, 30)  # two have no large picture: rows that say so
    assert {row["detail"] for row in large if row.get("error")} == {"states no url"}


def test_flickr_s_single_photos(replies: Path) -> None:
    path = replies / "flickr" / "image_data_*_example.json"
    with pytest.raises(SourceError, match=r"which column holds the url|no column"):
        rows(path, items="", columns={"url": "url_m"})  # one of them has no URL at all
    [row] = rows(replies / "flickr" / "image_data_sub_provider_example.json", items="", columns={"url": "url_l"})  # fmt: skip
    assert row["fetch"].endswith("_b.jpg") and row["url"] == row["origin"] == row["fetch"]


def test_met(replies: Path) -> None:
    folder = replies / "metropolitan_museum_of_art"
    columns = {"url": "primaryImage", "text": "title", "author": "artistDisplayName", "page_url": "objectURL"}
    [row] = rows(folder / "sample_response.json", items="", columns=columns, licence="CC0-1.0")
    assert (row["fetch"], row["text"], row["author"], row["licence"]) == (
        "https://images.metmuseum.org/CRDImages/as/original/DP251139.jpg",
        b"Quail and Millet",
        "Kiyohara Yukinobu",
        "CC0-1.0",
    )
    both = rows(folder / "sample_response*.json", items="", columns=columns | {"label": "tags.0.term"})
    assert [row.get("label") for row in both] == ["Birds", None]
    second = rows(folder / "sample_response*.json", items="", columns={"url": "additionalImages.1"})
    assert [row.get("detail") for row in second] == [None, "states no url"]
    licences = rows(folder / "sample_additional_image_data.json", columns={"licence": "license_info.url"})
    assert [row["licence"] for row in licences] == ["CC0-1.0"] * 3


EUROPEANA = {
    "url": "edmIsShownBy.0",
    "text": "title",
    "licence": "rights",
    "lang": "language",
    "page_url": "edmIsShownAt",
    "author": "dataProvider",
}


def test_europeana(replies: Path) -> None:
    path = replies / "europeana" / "europeana_example.json"
    items = json.loads(path.read_bytes())["items"]
    found = rows(path, items="items", columns=EUROPEANA)
    assert len(found) == len(items) == 27
    for row, item in zip(found, items, strict=True):
        assert row["fetch"] == row["url"] == item["edmIsShownBy"][0]
        assert row["text"].decode() == item["title"][0]
        assert (row["licence"], row["lang"]) == ("CC0-1.0", "es")
        assert row["author"] == item["dataProvider"][0]
        assert row["page_url"] == item["edmIsShownAt"][0]
    listed = rows(replies / "europeana" / "europeana_image_list.json", items="", columns=EUROPEANA)
    assert listed == found  # the same items without what was around them
    [wellcome] = rows(replies / "europeana" / "image_data_sub_provider_example.json", items="", columns=EUROPEANA)  # fmt: skip
    assert (wellcome["licence"], wellcome["lang"], wellcome["author"]) == (
        "CC-BY-4.0",
        "en",
        "Wellcome Collection",
    )


def test_europeana_s_several_descriptions_are_several_texts(replies: Path) -> None:
    path = replies / "europeana" / "europeana_example.json"
    items = json.loads(path.read_bytes())["items"]
    found = rows(path, items="items", columns=EUROPEANA | {"text": "dcDescription"})
    stated = [text for item in items for text in item.get("dcDescription", [])]
    assert len(stated) == 32
    assert [row["text"].decode() for row in found if row["text"]] == stated
    assert sum(row["text"] is None for row in found) == 8  # they have none, and are rows all the same


def test_stocksnap(replies: Path) -> None:
    settings = {
        "items": "results",
        "columns": {"url": "img_id", "text": "tags", "author": "author_name"},
        "base_url": "https://cdn.stocksnap.io/img-thumbs/960w/{}.jpg",
        "licence": "CC0-1.0",
    }
    found = rows(replies / "stocksnap" / "*full_response.json", **settings)
    assert len(found) == 40 + 25
    assert found[0]["fetch"] == "https://cdn.stocksnap.io/img-thumbs/960w/OAJ3645ZWF.jpg"
    assert found[0]["origin"] == "OAJ3645ZWF" and found[0]["text"].startswith(b"flower,")
    assert {row["licence"] for row in found} == {"CC0-1.0"}
    assert all(row["author"] for row in found)
    [one] = rows(replies / "stocksnap" / "full_item.json", **settings | {"items": ""})
    assert one["author"] == "Matt Moloney"


BROOKLYN = {"text": "caption", "url": "largest_derivative_url", "author": "credit"}


def test_brooklyn(replies: Path) -> None:
    folder, web = replies / "brooklynmuseum", "https://{}"
    [row] = rows(folder / "complete_data.json", items="data.images", columns=BROOKLYN, base_url=web)
    assert row["fetch"] == (
        "https://d1lfxha3ugu3d4.cloudfront.net/images/opencollection/objects/size4/CUR.66.242.29.jpg"
    )
    assert b"Caftan" in row["text"]
    columns = {
        "url": "images.0.largest_derivative_url",
        "text": "title",
        "licence": "rights_type.public_name",
    }
    [row] = rows(folder / "complete_data.json", items="data", columns=columns, base_url=web)
    assert (row["text"], row["licence"]) == (b"Caftan", "Creative Commons-BY")  # without a version: as it is
    found = rows(folder / "non_cc_object_data.json", items="images", columns=BROOKLYN, base_url=web)
    assert len({row["fetch"] for row in found}) == 6
    assert {row["author"] for row in found} == {"Brooklyn Museum photograph"}
    assert rows(folder / "response_nodata.json", items="data", columns=BROOKLYN) == []
    with pytest.raises(SourceError, match=r'response_error.json: items = "data": it is a text, not a list'):
        rows(folder / "response_error.json", items="data", columns=BROOKLYN)


FINNA = {
    "url": "images",
    "text": "title",
    "licence": "imageRights.link",
    "author": "nonPresenterAuthors.0.name",
}


def test_finna(replies: Path) -> None:
    path = replies / "finnishmuseums" / "finna_full_response_example.json"
    records = json.loads(path.read_bytes())["records"]
    found = rows(path, items="records", columns=FINNA, base_url="https://api.finna.fi", lang="fi")
    assert len(found) == len(records) == 13
    for row, record in zip(found, records, strict=True):
        assert row["fetch"] == "https://api.finna.fi" + record["images"][0]
        assert row["origin"] == record["images"][0]  # wherever it is fetched from
        assert row["text"].decode() == record["title"]
        assert row["author"] == next((author["name"] for author in record["nonPresenterAuthors"]), None)
    assert {row["licence"] for row in found} == {"CC-BY-4.0"}  # of a deed in Finnish
    named = rows(path, items="records", columns=FINNA | {"licence": "imageRights.copyright"})
    assert {row["licence"] for row in named} == {"CC-BY-4.0"}  # of "CC BY 4.0"
    whole = rows(replies / "finnishmuseums" / "object_list_example.json", items="", columns=FINNA)
    assert [row["origin"] for row in whole] == [row["origin"] for row in found]


def test_a_list_of_urls_and_the_same_as_parquet(replies: Path) -> None:
    lists = replies.parent / "url-lists"
    url = "https://raw.githubusercontent.com/rom1504/img2dataset/main/tests/blur_test_files/original.png"
    assert [(r["fetch"], r["position"], r["text"]) for r in rows(lists / "sample_image.txt")] == [(url, 0, None)]  # fmt: skip
    found = rows(lists / "sample_image.parquet", columns={"text": "txt"})
    assert [(r["fetch"], r["position"], r["text"]) for r in found] == [
        (url, 0, b"Lorem Ipsum"),
        (url, 1, b"Lorem Ipsum"),
    ]
