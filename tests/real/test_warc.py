"""Archives as others made them: whole ones, old ones, broken ones, and the same page through any of them."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.collect import Origin
from pipeline.formats.archive import Archive, Broken, Record
from pipeline.formats.html import read_page
from pipeline.sources.warc import Warc
from pipeline.web import intake
from pipeline.web.client import Web
from pipeline.web.settings import FetchSettings
from pipeline.web.source import Known
from storage.limits import Limits
from storage.media import normalise
from storage.store import Store

WEB = Web(FetchSettings(consent=()))
"""Not started: nothing is fetched here."""
EXAMPLE = "This domain is established to be used for illustrative examples in documents."
MAIN = "wikipedia-main-page-2012/main-page.warc.gz"
BROKEN = {
    "warcio/example-bad-non-chunked.warc.gz": "several records in one gzip member",
    "warcio/example-bad.warc.gz.bad": "several records in one gzip member",
    "warcio/example-wrong-chunks.warc.gz": "ends within a record",
    "warcio/example-trunc.warc": "Unknown archive format",
    "warcio/example-space-in-url.arc": "the file ends within a record",
}
"""What stops the reading of a file; the last says 12 bytes more than it has."""
SAME_PAGE = [
    "warcio/example.warc", "warcio/example.warc.gz", "warcio/example.arc", "warcio/example.arc.gz",
    "warcio/example-resource.warc.gz", "pywb/example-url-agnostic-orig.warc.gz", "pywb/example-wpull.warc.gz",
    "pywb/example-wget-1-14.warc.gz", "warcio/example-wget-bad-target-uri.warc.gz",
]  # fmt: skip


@pytest.fixture(scope="module")
def warcs(real_data: Callable[[str], Path]) -> Path:
    return real_data("web-library-inputs") / "warc"


def rows(path: Path, **options: Any) -> list[dict[str, Any]]:
    source = Warc(path=str(path), **options)
    found = [row for shard in source.shards(Known(), WEB) for row in source.read(shard, WEB)]
    places = [(row["origin"], row["position"]) for row in found]
    assert len(set(places)) == len(places)
    return found


def records(path: Path) -> list[Record]:
    with path.open("rb") as file:
        return list(Archive(file).records())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        (MAIN, 151), ("pywb/iana.warc.gz", 343), ("pywb/dupes.warc.gz", 25), ("warcio/example.warc", 6),
        ("warcio/example.warc.gz", 6), ("warcio/example.arc", 2), ("warcio/example.arc.gz", 2), ("warcio/bad.arc", 4),
        ("commoncrawl-whirlwind/whirlwind.warc.gz", 4), ("commoncrawl-whirlwind/whirlwind.warc.wat.gz", 2),
    ],
)  # fmt: skip
def test_every_record_is_found(warcs: Path, name: str, count: int) -> None:
    found = records(warcs / name)
    assert len(found) == count
    with (warcs / name).open("rb") as file:
        assert all(Archive(file).record(one.offset).uri == one.uri for one in found[:: max(1, count // 20)])


def test_seventeen_pictures_of_a_main_page_with_what_is_said_of_them(warcs: Path) -> None:
    found = rows(warcs / MAIN)
    pairs = [row for row in found if row["task"] == "caption"]
    assert len(pairs) == 17 and not any(row.get("error") for row in found)
    said = {row["text"].decode(): row["image"] for row in pairs}
    assert {
        "Ma Ying-jeou",
        "Emperor shrimp",
        "Powered by MediaWiki",
        "Nick Drake's grave in Tanworth-in-Arden",
    } <= set(said)
    for image in said.values():
        assert normalise(image, Limits(min_side=1)).width > 10
    assert (normalise(said["Emperor shrimp"], Limits()).width, pairs[0]["lang"]) == (334, "en")


def test_the_main_page_is_one_document_in_reading_order(warcs: Path) -> None:
    document = [row for row in rows(warcs / MAIN) if row["task"] == "text"]
    assert [row["position"] for row in document] == list(range(29))
    assert Counter("text" in row for row in document) == {True: 15, False: 14}
    text = b"\n".join(row.get("text", b"") for row in document).decode()
    order = ["Today's featured article", "Nick Drake (1948", "Did you know", "In the news", "On this day", "Klaus Barbie",
             "Today's featured picture", "The Emperor shrimp", "Wikipedia languages"]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    menu = [
        "Privacy policy",
        "Toolbox",
        "Log in / create account",
        "Random article",
        "Disclaimers",
        "jQuery",
        "{",
    ]
    assert not [words for words in menu if words in text]


def test_pages_of_an_organisation_with_their_drawings(warcs: Path) -> None:
    found = rows(warcs / "pywb/iana.warc.gz")
    assert len({row["page_url"] for row in found}) >= 14
    assert not any(row.get("error") for row in found)
    assert sum("image" in row for row in found) == 17
    assert any(b"IANA manages the DNS Root Zone" in row.get("text", b"") for row in found)


def test_a_page_of_common_crawl_and_its_links_and_its_text(warcs: Path) -> None:
    folder = warcs / "commoncrawl-whirlwind"
    found = rows(folder / "whirlwind.warc.gz", fetch_missing=True)
    assert {(row["lang"], row["licence"]) for row in found} == {("an", "CC-BY-SA-4.0")}
    assert any(b"Escopete ye un municipio" in row.get("text", b"") for row in found)
    urls = {row["fetch"] for row in found if "fetch" in row}
    assert urls and all(url.startswith("https://") and "wikipedia" in url for url in urls)
    assert Counter(row["error"] for row in rows(folder / "whirlwind.warc.gz") if row.get("error")) == {
        "not_archived": 14
    }
    [text] = rows(folder / "whirlwind.warc.wet.gz")
    assert b"Escopete" in text["text"] and text["task"] == "text"
    assert rows(folder / "whirlwind.warc.wat.gz") == []  # its one record is of a request


@pytest.mark.parametrize("name", SAME_PAGE)
def test_the_same_page_from_every_kind_of_file(warcs: Path, name: str) -> None:
    texts = [row["text"].decode() for row in rows(warcs / name) if not row.get("error")]
    assert len(texts) == 1 and EXAMPLE in texts[0]
    assert texts[0].startswith("Example Domain")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_ends_with_a_row_that_says_where(warcs: Path, name: str) -> None:
    last = rows(warcs / name)[-1]
    assert last["error"] == "broken_archive" and BROKEN[name] in last["detail"]
    assert last["detail"].startswith("at byte ")


def test_chunks_and_revisits(warcs: Path) -> None:
    [page] = rows(warcs / "warcio/example-iana.org-chunked.warc")
    assert b"Coordination of the global IP and AS number spaces" in page["text"]
    errors = Counter(row.get("error") for row in rows(warcs / "pywb/dupes.warc.gz"))
    assert errors == {None: 1, "unchanged": 1, "missing_original": 1}


def test_all_files_together_are_taken_into_a_store(warcs: Path, tmp_path: Path) -> None:
    store, origin = Store.open(tmp_path / "store"), Origin("warc", Warc(path=str(warcs / "*/*arc*")))
    walk = partial(intake.run, store, origin, Limits(min_side=1), FetchSettings(consent=()))
    assert walk().parts > 15
    with store.connect() as db:
        found = "samples JOIN decisions d USING (sample_id) WHERE d.stage = 'collect'"
        counts = db.sql(
            f"SELECT d.reason, count(*), count(DISTINCT image_id) FROM {found} GROUP BY 1"
        ).fetchall()
    reasons = {reason: (rows, pictures) for reason, rows, pictures in counts}
    assert (reasons["broken_archive"][0], reasons["not_archived"][0]) == (5, 14)
    assert reasons["not_an_image"] == (17, 0)  # drawings in SVG
    assert reasons[None][0] > 80 and reasons[None][1] == 17
    assert walk().parts == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("name", ["warcio/example.warc", "warcio/example.arc.gz", "pywb/dupes.warc.gz"])
def test_damage_to_real_files(warcs: Path, tmp_path: Path, name: str, seed: int) -> None:
    chance, raw = random.Random(seed), bytearray((warcs / name).read_bytes())
    for _ in range(chance.randrange(1, 20)):
        at = chance.randrange(len(raw))
        raw[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    (tmp_path / "a.warc").write_bytes(raw[: chance.randrange(1, len(raw) + 1)])
    found = rows(tmp_path / "a.warc")
    assert all(row.get("error") or row.get("text") or row.get("image") for row in found)


@pytest.fixture(scope="module")
def page(warcs: Path) -> bytes:
    with (warcs / MAIN).open("rb") as file:
        for record in Archive(file).records():
            if record.is_page:
                return record.payload(1 << 20)
    raise Broken(0, "no page")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_damage_to_a_real_page(page: bytes, seed: int) -> None:
    chance, raw = random.Random(seed), bytearray(page)
    for _ in range(chance.randrange(1, 40)):
        at = chance.randrange(len(raw))
        raw[at : at + chance.randrange(200)] = chance.choice(
            [b"<", b">", b'"', b"\0", b"<div>", b"</table>", b"<!--", b"&#"]
        )
    made = read_page(bytes(raw), "http://en.wikipedia.org/")
    assert made == read_page(bytes(raw), "http://en.wikipedia.org/")
    assert all(picture.url.startswith("http") for picture in made.pictures)
    assert gzip.compress(made.text.encode())
