"""An OAI-PMH repository on this machine that keeps to the protocol, and checks its clients' arguments."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape, quoteattr

from PIL import Image

from tests.serving import Answer, answering

if TYPE_CHECKING:
    pass

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
        self.down = ""
        """A verb that is answered with 503."""

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


@contextmanager
def serve() -> Iterator[tuple[str, Repository]]:
    repository = Repository()

    def answer(target: str) -> Answer:
        path, query = urlsplit(target).path, urlsplit(target).query
        body = repository.answer(query) if path == "/oai" else repository.pictures.get(path)
        down = repository.down and f"verb={repository.down}" in query
        status = 503 if path in repository.missing or down else 404 if body is None else 200
        kind = "text/xml; charset=utf-8" if path == "/oai" else "image/png"
        return status, {"Content-Type": kind}, body if status == 200 and body is not None else b""

    with answering(answer) as url:
        yield url, repository


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
