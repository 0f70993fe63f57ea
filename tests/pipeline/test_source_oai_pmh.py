"""OAI-PMH: a repository that keeps to the protocol, harvested whole and then by what changed; and ones that do not."""

from __future__ import annotations

import base64
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.records import SourceError
from pipeline.sources.oai_pmh import OaiPmh
from pipeline.web.oai_page import BrokenPage, parse
from pipeline.web.settings import FetchSettings
from pipeline.web.source import WITHDRAWN

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill

ARGUMENTS = {
    "Identify": (set(), set()),
    "GetRecord": ({"identifier", "metadataPrefix"}, set()),
    "ListRecords": ({"metadataPrefix"}, {"from", "until", "set"}),
}
"""Required and optional arguments of the verbs, as the protocol has them."""


def picture(colour: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), (colour, 9, 9)).save(out, "PNG")
    return out.getvalue()


class Repository:
    """OAI-PMH 2.0, sections 3 and 4: arguments are checked, lists are incomplete, deletions are persistent."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.now = "2026-01-01T00:00:00Z"
        self.granularity = "YYYY-MM-DDThh:mm:ssZ"
        self.page = 3
        self.asked: list[dict[str, str]] = []
        self.forget_tokens = 0
        """So many tokens are refused as expired."""
        self.garble: Callable[[int, bytes], bytes] = lambda number, body: body
        self.pictures: dict[str, bytes] = {}
        self.missing: set[str] = set()

    def put(self, name: str, dc: str = "", deleted: bool = False, sets: tuple[str, ...] = ()) -> None:
        self.records[f"oai:test:{name}"] = {"at": self.now, "dc": dc, "deleted": deleted, "sets": sets}

    def answer(self, query: str) -> bytes:
        params = dict(pairs := parse_qsl(query, keep_blank_values=True))
        self.asked.append(params)
        verb = params.get("verb", "")
        if len(params) != len(pairs) or verb not in ARGUMENTS:
            return self._wrap(verb, '<error code="badVerb">no such verb</error>')
        body = {"Identify": self._identify, "GetRecord": self._get, "ListRecords": self._list}[verb](params)
        return self.garble(len(self.asked), self._wrap(verb, body))

    def _wrap(self, verb: str, body: str) -> bytes:
        return (
            '<?xml version="1.0" encoding="UTF-8"?><OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">'
            f"<responseDate>{self.now}</responseDate><request>http://test/oai</request>{body}</OAI-PMH>"
        ).encode()

    def _wrong(self, verb: str, params: dict[str, str]) -> str | None:
        required, optional = ARGUMENTS[verb]
        names = set(params) - {"verb"}
        if not required <= names or not names <= required | optional:
            return f'<error code="badArgument">{verb} with {escape(", ".join(sorted(names)))}</error>'
        if params.get("metadataPrefix", "oai_dc") != "oai_dc":
            return '<error code="cannotDisseminateFormat">only oai_dc</error>'
        dates = [params[name] for name in ("from", "until") if name in params]
        kinds = [r"\d{4}-\d\d-\d\d"] + [r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"] * ("T" in self.granularity)
        if any(not any(re.fullmatch(kind, date) for kind in kinds) for date in dates):
            return '<error code="badArgument">a date of another granularity</error>'
        if len({len(date) for date in dates}) > 1 or (len(dates) == 2 and dates[0] > dates[1]):
            return '<error code="badArgument">from and until</error>'
        return None

    def _identify(self, params: dict[str, str]) -> str:
        return self._wrong("Identify", params) or (
            "<Identify><repositoryName>t</repositoryName><baseURL>http://test/oai</baseURL>"
            "<protocolVersion>2.0</protocolVersion><earliestDatestamp>2020-01-01</earliestDatestamp>"
            f"<deletedRecord>persistent</deletedRecord><granularity>{self.granularity}</granularity></Identify>"
        )

    def _get(self, params: dict[str, str]) -> str:
        if wrong := self._wrong("GetRecord", params):
            return wrong
        if params["identifier"] not in self.records:
            return '<error code="idDoesNotExist"/>'
        return f"<GetRecord>{self._record(params['identifier'])}</GetRecord>"

    def _list(self, params: dict[str, str]) -> str:
        start = 0
        if "resumptionToken" in params:
            if set(params) != {"verb", "resumptionToken"}:
                return '<error code="badArgument">resumptionToken is exclusive</error>'
            try:
                state = base64.b64decode(params["resumptionToken"]).decode()
                if self.forget_tokens:
                    self.forget_tokens -= 1
                    raise ValueError("expired")
                start, params = int(state.split("?")[0]), dict(parse_qsl(state.split("?")[1]))
            except (ValueError, IndexError):
                return '<error code="badResumptionToken">it expired</error>'
        elif wrong := self._wrong("ListRecords", params):
            return wrong
        cut = slice(10 if "T" not in self.granularity else None)
        low, high = params.get("from", ""), params.get("until", "9999")
        names = [
            name
            for name, record in self.records.items()
            if low[:20] <= record["at"][cut][: len(low) or None] and record["at"][cut][: len(high)] <= high
            if "set" not in params or any(f"{s}:".startswith(f"{params['set']}:") for s in record["sets"])
        ]
        if not names:
            return '<error code="noRecordsMatch"/>'
        body = "".join(self._record(name) for name in names[start : start + self.page])
        more = "&".join(f"{k}={v}" for k, v in params.items())
        token = (
            base64.b64encode(f"{start + self.page}?{more}".encode()).decode()
            if start + self.page < len(names)
            else ""
        )
        last = f'<resumptionToken completeListSize="{len(names)}" cursor="{start}">{token}</resumptionToken>'
        return f"<ListRecords>{body}{last if start or token else ''}</ListRecords>"

    def _record(self, name: str) -> str:
        record = self.records[name]
        at = record["at"] if "T" in self.granularity else record["at"][:10]
        status = ' status="deleted"' if record["deleted"] else ""
        sets = "".join(f"<setSpec>{s}</setSpec>" for s in record["sets"])
        header = f"<header{status}><identifier>{name}</identifier><datestamp>{at}</datestamp>{sets}</header>"
        if record["deleted"]:
            return f"<record>{header}</record>"
        return (
            f'<record>{header}<metadata><oai_dc:dc xmlns:dc="http://purl.org/dc/elements/1.1/" '
            f'xmlns:oai_dc="http://www.openarchives.org/OAI/2.0/oai_dc/">{record["dc"]}</oai_dc:dc></metadata></record>'
        )


@pytest.fixture
def served() -> Iterator[tuple[str, Repository]]:
    repository = Repository()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, urlsplit(self.path).query
            body = repository.answer(query) if path == "/oai" else repository.pictures.get(path)
            status = 503 if path in repository.missing else 404 if body is None else 200
            body = body if status == 200 and body is not None else b""
            self.send_response(status)
            self.send_header("Content-Type", "text/xml; charset=utf-8" if path == "/oai" else "image/png")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", repository
        server.shutdown()


def dc(**values: str | tuple[str, str]) -> str:
    """Dublin Core elements; a pair is a language and a text."""
    out = ""
    for name, value in values.items():
        lang, text = value if isinstance(value, tuple) else (None, value)
        about = f" xml:lang={quoteattr(lang)}" if lang else ""
        out += f"<dc:{name.rstrip('_')}{about}>{escape(text)}</dc:{name.rstrip('_')}>"
    return out


def fill(url: str, repository: Repository, count: int = 7) -> None:
    for n in range(count):
        repository.pictures[f"/{n}.png"] = picture(n)
        repository.put(
            str(n),
            dc(title=f"Record {n}", identifier=f"{url}/{n}.png", rights="CC BY 4.0", creator="A. Painter"),
        )


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
