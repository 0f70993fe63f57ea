"""OAI-PMH: a repository that keeps to the protocol, harvested whole and then by what changed; and ones that do not."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.collect import Origin
from pipeline.formats.oai_page import BrokenPage, parse
from pipeline.records import SourceError
from pipeline.sources.oai_pmh import OaiPmh
from pipeline.web import intake
from pipeline.web.settings import FetchSettings
from pipeline.web.source import WITHDRAWN
from tests.pipeline.oai_repository import Repository, dc, fill, picture, serve

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill


@pytest.fixture
def served() -> Iterator[tuple[str, Repository]]:
    with serve() as found:
        yield found


def test_everything_is_harvested_page_by_page_and_only_once(served: Any, mill: Mill) -> None:
    url, repository = served
    fill(url, repository)
    source = OaiPmh(url=f"{url}/oai")
    mill.take(source)
    rows = mill.rows()
    assert [row["origin"] for row in rows] == [f"oai:test:{n}" for n in range(7)]
    assert all(row["reason"] is None and row["image_id"] for row in rows)
    assert {(row["text"], row["licence"], row["author"], row["task"]) for row in rows} == {
        (f"Record {n}", "CC-BY-4.0", "A. Painter", "caption") for n in range(7)
    }
    assert [a["verb"] for a in repository.asked] == ["Identify"] + ["ListRecords"] * 3
    assert mill.take(source) == 0
    assert mill.rows() == rows


def test_a_second_harvest_asks_only_for_what_changed(served: Any, mill: Mill) -> None:
    url, repository = served
    fill(url, repository)
    source = OaiPmh(url=f"{url}/oai")
    repository.now = "2026-02-01T10:00:00Z"
    mill.take(source)
    repository.now = "2026-03-01T00:00:00Z"
    repository.put("3", dc(title="Record 3, corrected", identifier=f"{url}/3.png"))
    repository.put("new", dc(title="New"))
    repository.asked.clear()
    mill.take(source)
    lists = [asked for asked in repository.asked if asked["verb"] == "ListRecords"]
    assert [asked["from"] for asked in lists] == ["2026-02-01T10:00:00Z"]
    texts = {row["origin"]: row["text"] for row in mill.rows()}
    assert texts["oai:test:3"] == "Record 3, corrected" and texts["oai:test:new"] == "New"
    assert len(texts) == 8
    repository.now = "2026-04-01T00:00:00Z"
    assert mill.take(source) == 0  # noRecordsMatch: nothing new, and no error
    assert len(mill.rows()) == 8


def test_dates_are_in_the_repositorys_granularity(served: Any, mill: Mill) -> None:
    url, repository = served
    repository.granularity = "YYYY-MM-DD"
    fill(url, repository, 2)
    source = OaiPmh(url=f"{url}/oai", since="2025-12-31T23:00:00Z", until="2026-12-31")
    mill.take(source)
    mill.take(source)
    lists = [asked for asked in repository.asked if asked["verb"] == "ListRecords"]
    assert [(asked["from"], asked["until"]) for asked in lists] == [
        ("2025-12-31", "2026-12-31"),
        ("2026-01-01", "2026-12-31"),
    ]
    assert len(mill.rows()) == 2


def test_deleted_records_withdraw_every_row(served: Any, mill: Mill) -> None:
    url, repository = served
    fill(url, repository, 2)
    title = dc(title=("en", "Bear")) + dc(title=("de", "Bär"))
    repository.put("0", title + dc(identifier=f"{url}/0.png"))
    source = OaiPmh(url=f"{url}/oai")
    mill.take(source)
    assert [(r["origin"], r["position"], r["lang"]) for r in mill.rows()][:2] == [
        ("oai:test:0", 0, "en"),
        ("oai:test:0", 1, "de"),
    ]
    repository.now = "2026-05-01T00:00:00Z"
    repository.put("0", deleted=True)
    repository.put("never seen", deleted=True)
    mill.take(source)
    by_reason = [(r["origin"], r["position"], r["reason"], r["text"], r["image_id"]) for r in mill.rows()]
    assert ("oai:test:0", 0, WITHDRAWN, None, None) in by_reason
    assert ("oai:test:0", 1, WITHDRAWN, None, None) in by_reason
    assert ("oai:test:never seen", 0, WITHDRAWN, None, None) in by_reason
    assert sum(reason is None for _, _, reason, _, _ in by_reason) == 1
    repository.now = "2026-06-01T00:00:00Z"
    repository.put("0", title + dc(identifier=f"{url}/0.png"))
    mill.take(source)  # and comes back
    assert [r["reason"] for r in mill.rows() if r["origin"] == "oai:test:0"] == [None, None]


def test_a_language_that_a_record_lost_is_withdrawn(served: Any, mill: Mill) -> None:
    url, repository = served
    repository.put("a", dc(title=("en", "Bear")) + dc(title=("de", "Bär")))
    source = OaiPmh(url=f"{url}/oai")
    mill.take(source)
    repository.now = "2026-05-01T00:00:00Z"
    repository.put("a", dc(title=("en", "Bear")))
    mill.take(source)
    assert [(r["text"], r["reason"]) for r in mill.rows()] == [("Bear", None), (None, WITHDRAWN)]


def test_an_expired_token_begins_the_walk_anew(served: Any, mill: Mill) -> None:
    url, repository = served
    fill(url, repository)
    repository.forget_tokens = 2
    mill.take(OaiPmh(url=f"{url}/oai"))
    assert [row["reason"] for row in mill.rows()] == [None] * 7


def test_a_token_that_always_expires_ends_the_walk_and_keeps_the_cursor(served: Any, mill: Mill) -> None:
    url, repository = served
    fill(url, repository)
    repository.forget_tokens = 99
    source = OaiPmh(url=f"{url}/oai")
    mill.take(source)
    rows = mill.rows()
    assert [row["reason"] for row in rows] == ["broken_listing", None, None, None]
    assert "badResumptionToken" in rows[0]["detail"]
    repository.forget_tokens = 0
    mill.take(source)
    assert sum(row["reason"] is None for row in mill.rows()) == 7
    assert all("from" not in asked for asked in repository.asked)


@pytest.mark.parametrize("cut", [b"broken xml", None, b"", b"<html>Error</html>"])
def test_a_broken_page_keeps_what_came_before_and_the_cursor(
    served: Any, mill: Mill, cut: bytes | None
) -> None:
    url, repository = served
    fill(url, repository)
    repository.garble = lambda number, body: (body[:-200] if cut is None else cut) if number == 3 else body
    source = OaiPmh(url=f"{url}/oai")
    mill.take(source)
    reasons = [row["reason"] for row in mill.rows()]
    assert reasons == ["broken_listing", None, None, None]
    repository.garble = lambda number, body: body
    mill.take(source)
    assert sum(row["reason"] is None for row in mill.rows()) == 7
    assert all("from" not in asked for asked in repository.asked)


def test_a_control_character_does_not_stop_a_harvest(served: Any, mill: Mill) -> None:
    url, repository = served
    repository.put("a", dc(title="a\x0bb") + "<dc:title>c&#x1F;d</dc:title>")
    mill.take(OaiPmh(url=f"{url}/oai"))
    assert [row["text"] for row in mill.rows()] == ["ab\ncd"]


def test_errors_of_the_repository_are_readable(served: Any, mill: Mill) -> None:
    url, repository = served
    fill(url, repository, 1)
    with pytest.raises(SourceError, match="cannotDisseminateFormat: only oai_dc"):
        mill.take(OaiPmh(url=f"{url}/oai", prefix="mods"))
    with pytest.raises(SourceError, match="http_404"):
        mill.take(OaiPmh(url=f"{url}/elsewhere"))
    with pytest.raises(SourceError, match="should begin with http"):
        mill.take(OaiPmh(url="repository.example/oai"))
    repository.garble = lambda number, body: b"<html/>"
    with pytest.raises(SourceError, match="not an OAI-PMH response"):
        mill.take(OaiPmh(url=f"{url}/oai"))
    assert mill.rows() == []


@pytest.mark.parametrize("fails", ["Identify", "ListRecords"])
def test_a_repository_that_is_down_for_a_night_is_a_row_and_keeps_the_cursor(
    served: Any, mill: Mill, fails: str
) -> None:
    url, repository = served
    fill(url, repository, 2)
    source = OaiPmh(url=f"{url}/oai")
    mill.take(source)
    before = intake.cursor(mill.store, Origin("web", source))
    repository.down = fails
    mill.take(source)
    assert [(r["reason"], r["detail"][:8]) for r in mill.rows() if r["reason"]] == [
        ("broken_listing", "http_503")
    ]
    assert before is not None and intake.cursor(mill.store, Origin("web", source)) == before
    repository.down = ""
    mill.take(source)
    assert [r["reason"] for r in mill.rows() if r["reason"]] == [WITHDRAWN]
    assert mill.take(source) == 0


def test_a_password_is_used_and_neither_shown_nor_stored(served: Any, mill: Mill) -> None:
    url, repository = served
    secret = url.replace("//", "//ann:secret@")
    with pytest.raises(SourceError) as told:
        mill.take(OaiPmh(url=f"{secret}/elsewhere"))
    assert "http_404" in str(told.value) and "secret" not in str(told.value)
    with pytest.raises(SourceError) as told:
        mill.take(OaiPmh(url="ftp://ann:secret@repository.example/oai"))
    assert "secret" not in str(told.value)
    repository.put("a", dc(title="A", identifier="https://ann:secret@h.example/a"))
    mill.take(OaiPmh(url=f"{secret}/oai"))
    assert [row["page_url"] for row in mill.rows()] == ["https://h.example/a"]


def test_tokens_that_go_round_come_to_an_end(served: Any, mill: Mill) -> None:
    url, repository = served
    fill(url, repository)
    token = base64.b64encode(b"0?verb=ListRecords&metadataPrefix=oai_dc")
    repository.garble = lambda number, body: re.sub(rb"(<resumptionToken[^>]*>)[^<]*", rb"\1" + token, body)
    mill.take(OaiPmh(url=f"{url}/oai"))
    assert [row["reason"] for row in mill.rows()] == ["broken_listing", None, None, None]


def test_a_set_and_another_set_are_two_questions(served: Any, mill: Mill) -> None:
    url, repository = served
    repository.put("a", dc(title="A"), sets=("maps",))
    repository.put("b", dc(title="B"), sets=("maps:sea",))
    repository.put("c", dc(title="C"), sets=("letters",))
    repository.now = "2026-02-01T00:00:00Z"
    mill.take(OaiPmh(url=f"{url}/oai", set="maps"))
    assert [row["text"] for row in mill.rows()] == ["A", "B"]
    mill.take(OaiPmh(url=f"{url}/oai", set="letters"))  # the cursor of the other set says nothing of this one
    assert [row["text"] for row in mill.rows()] == ["A", "B", "C"]


def test_pictures_by_a_rule_and_texts_without_one(served: Any, mill: Mill) -> None:
    url, repository = served
    repository.pictures["/image/7/full.png"] = picture(7)
    repository.put(
        "7",
        dc(title=("eng", "Seven"), description=("eng", "A number."), identifier="https://h.example/item/7"),
    )
    repository.put("x", dc(title="X", rights="http://rightsstatements.org/vocab/InC/1.0/"))
    mill.take(OaiPmh(url=f"{url}/oai", image_match=r"oai:test:(\d+)$", image_url=rf"{url}/image/\1/full.png"))
    seven, x = mill.rows()
    assert (seven["text"], seven["lang"], seven["task"], seven["page_url"]) == (
        "Seven\nA number.",
        "en",
        "caption",
        "https://h.example/item/7",
    )
    assert seven["image_id"] and seven["reason"] is None
    assert (x["task"], x["image_id"], x["licence"]) == (
        "text",
        None,
        "http://rightsstatements.org/vocab/InC/1.0/",
    )


def test_a_picture_that_failed_in_passing_is_asked_for_again(served: Any, mill: Mill) -> None:
    url, repository = served
    fill(url, repository, 2)
    repository.missing = {"/1.png"}
    now = FetchSettings(allow=("127.0.0.0/8",), consent=(), retries=0, retry_later=0, decoders=1)
    repository.now = "2026-08-01T00:00:00Z"
    source = OaiPmh(url=f"{url}/oai")
    mill.take(source, settings=now)
    assert [row["reason"] for row in mill.rows()] == [None, "http_503"]
    repository.now, repository.missing = "2026-09-01T00:00:00Z", set()
    repository.asked.clear()
    mill.take(source, settings=now)
    assert [row["reason"] for row in mill.rows()] == [None, None]
    assert [a["verb"] for a in repository.asked] == ["Identify", "ListRecords", "GetRecord"]


def test_a_limit_is_a_step_of_the_way(served: Any, mill: Mill) -> None:
    url, repository = served
    fill(url, repository)
    source = OaiPmh(url=f"{url}/oai", limit=3)
    counts = []
    for _ in range(4):
        mill.take(source)
        counts.append(len(mill.rows()))
    assert counts == [3, 6, 7, 7]


BOMB = (
    b'<!DOCTYPE OAI-PMH [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(12))
    + b']><OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">&m;</OAI-PMH>'
)


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">'
        b"<error code='x'>&x;</error></OAI-PMH>",
        b"<a>" * 100_000,
        b'<?xml version="1.0" encoding="no-such"?><a/>',
    ],
)
def test_hostile_xml_is_refused_at_once(body: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(BrokenPage):
        parse(body)
    assert time.monotonic() - began < 1


def test_settings_are_checked_when_they_are_read() -> None:
    for wrong in (
        {"since": "yesterday"},
        {"image_match": "("},
        {"image_match": "a", "image_url": r"\3"},
        {"image_url": "x"},
    ):
        with pytest.raises(ValueError):
            OaiPmh(url="https://x.example/oai", **wrong)


def sample() -> bytes:
    repository = Repository()
    repository.put(
        "a", dc(title=("en", "A"), identifier="https://h.example/a.jpg", rights="CC0", language="eng")
    )
    repository.put("b", deleted=True)
    return repository.answer("verb=ListRecords&metadataPrefix=oai_dc")


SAMPLE = sample()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(SAMPLE)), st.integers(0, 40), st.binary(max_size=24))
@example(len(SAMPLE), 0, b"<")
@example(SAMPLE.index(b"<header"), 0, b"<!-- c -->")
@example(SAMPLE.index(b"oai:test:a"), 10, b"")
@example(SAMPLE.index(b"https://h"), 5, b"http://[")
@example(SAMPLE.index(b'"en"'), 4, b'"\xc3\xa9"')
def test_a_damaged_response_is_records_or_a_broken_page(at: int, drop: int, put: bytes) -> None:
    source = OaiPmh(url="https://h.example/oai")
    try:
        page = parse(SAMPLE[:at] + put + SAMPLE[at + drop :])
    except BrokenPage:
        return
    for record in page.records:
        for row in source.record_rows(record) if record.identifier else ():
            assert row["origin"] == record.identifier and row["version"]
            assert row.get("fetch", "https://").startswith(("http://", "https://"))
