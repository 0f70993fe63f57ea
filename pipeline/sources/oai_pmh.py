"""Repositories that speak OAI-PMH 2.0: their Dublin Core records, with or without a picture.

`origin` is the record's identifier, the languages of its text are positions. The first walk takes everything,
a later one what changed since; a record that was deleted withdraws its rows. A picture is what the `image_…`
settings make of an identifier, else the first identifier, relation or source that ends like a picture.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Generator, Iterator
from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlencode, urlsplit

from pydantic import Field, model_validator

from pipeline.formats import rights
from pipeline.formats.iiif_manifest import web_address
from pipeline.formats.languages import captions
from pipeline.formats.oai_page import BrokenPage, Page, Record, parse
from pipeline.records import SourceError
from pipeline.step import Shard, digest
from pipeline.web.client import Web
from pipeline.web.errors import PASSING
from pipeline.web.packing import Row, pack, same_origin, unpack, withdrawn
from pipeline.web.source import Known, WebSource
from pipeline.web.urls import redacted
from storage.media import EXTENSIONS

ACCEPT = "text/xml, application/xml;q=0.9, */*;q=0.1"
MOST_PAGES = 1_000_000
MOST_RESTARTS = 3
"""Walks that are begun anew because the repository forgot its token."""
MOST_DUE = 1000
"""Records asked for one by one; for more of them the whole list is walked through."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\dZ)?")
BROKEN, ANSWERED = "broken_listing", "answered"
LISTING, NAMELESS = "(listing)", "(no identifier)"
"""Origins of rows that are no record: they do not name the server, which may move."""


class OaiPmh(WebSource):
    """Records of a library's repository, changed ones since the last harvest."""

    version: ClassVar[int] = 1
    unfingerprinted: ClassVar[frozenset[str]] = frozenset(
        {"url", "set", "since", "until", "shard_rows", "limit"}
    )

    url: str = Field(description="The repository's base URL.")
    set: str | None = Field(None, description="Only records of this set (setSpec).")
    prefix: str = Field(
        "oai_dc", description="Metadata format to ask for; its Dublin Core elements are read."
    )
    since: str | None = Field(None, description="Only records changed since that day (2020-01-31).")
    until: str | None = Field(None, description="Only records changed until that day.")
    image_match: str = Field(
        "", description="Regular expression that finds in an identifier what names the picture."
    )
    image_url: str = Field(
        "", description=r"The picture's URL made of it: https://example.org/image/\1/full.jpg"
    )
    caption: tuple[Literal["title", "description", "subject"], ...] = Field(
        ("title", "description"), description="What a text is made of."
    )
    limit: int | None = Field(None, gt=0, description="Most new or changed records of one run.")
    shard_rows: int = Field(256, gt=0, description="Rows in a part, about.")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        for date in (self.since, self.until):
            if date is not None and not _DATE.fullmatch(date):
                raise ValueError(f'"{date}" should be written like 2020-01-31 or 2020-01-31T10:00:00Z')
        if bool(self.image_match) != bool(self.image_url):
            raise ValueError("image_match and image_url go together")
        try:
            re.compile(self.image_match).sub(self.image_url, "")
        except (re.error, IndexError) as error:
            raise ValueError(f"image_match, image_url: {error}") from None
        return self

    def shards(self, known: Known, web: Web) -> Generator[Shard, None, str | None]:
        """Walks through what changed since the last complete walk; the cursor is the date that one began.

        Raises:
            SourceError: no repository at that URL, or one that cannot answer this question.
        """
        walk = _Walk(self, known, web)
        complete = yield from pack(walk.groups(), known, self.shard_rows, self.limit)
        return walk.cursor() if complete else known.cursor

    def read(self, shard: Shard, web: Web) -> Iterator[Row]:
        return unpack(shard)

    def record_rows(self, record: Record) -> list[Row]:
        """The rows of one origin that a record makes: one for each language of its text."""
        if record.deleted:
            return withdrawn(record.identifier, [0], f"deleted {record.datestamp}")
        if not record.values:
            nothing = {"error": "bad_row", "detail": "no Dublin Core in its metadata"}
            return same_origin(record.identifier, [nothing], self.fingerprint())
        values = {name: [text for _, text in texts] for name, texts in record.values.items()}
        picture = self._picture(record.identifier, values)
        pages = (web_address(link) for link in values.get("identifier", []))
        stated = [*values.get("license", []), *values.get("rights", [])]
        creators = dict.fromkeys([*values.get("creator", []), *values.get("contributor", [])[:1]][:20])
        row = {
            "document": record.identifier,
            "task": self.task or ("caption" if picture else "text"),
            "lang": self.lang,
            "licence": rights.licence(*stated[:16]) or self.licence,
            "author": "; ".join(creators)[: rights.LONGEST] or self.author,
            "page_url": next((page for page in pages if page and page != picture), None),
            "fetch": picture,
        }
        texts = captions([record.values.get(part, []) for part in self.caption])
        told = [{**row, "text": text, "lang": lang or self.lang} for lang, text in texts]
        return same_origin(record.identifier, told or [row], self.fingerprint())

    def _picture(self, identifier: str, values: dict[str, list[str]]) -> str | None:
        """The picture's URL, or None."""
        if self.image_match:
            for name in (identifier, *values.get("identifier", [])):
                if found := re.search(self.image_match, name[:2000]):
                    return web_address(found.expand(self.image_url))
            return None
        links = [link for name in ("identifier", "relation", "source") for link in values.get(name, [])]
        return next((link for link in links if _is_picture(link)), None)


def _is_picture(link: str) -> bool:
    return web_address(link) == link and urlsplit(link).path.lower().rpartition(".")[2] in EXTENSIONS


def _key(identifier: str) -> bytes:
    return hashlib.blake2b(identifier.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class _Stopped(Exception):
    """The walk cannot go on."""


class _Walk:
    """One harvest: pages until the token is empty, begun anew when the repository forgets it."""

    def __init__(self, source: OaiPmh, known: Known, web: Web) -> None:
        self._source, self._known, self._web = source, known, web
        self._of = digest(
            [source.url, source.set, source.prefix, source.since, source.until, source.fingerprint()]
        )
        self._began = ""
        self._granularity = ""
        self._complete = False
        self._seen: set[bytes] = set()
        self._due_origins = list(dict.fromkeys(known.due["origin"].to_pylist()))

    def cursor(self) -> str | None:
        """Where the next walk begins; unchanged if this one was not complete.

        It names the question too: with another set or other settings a walk begins from the start.
        """
        if not self._complete or not _DATE.fullmatch(self._began):
            return self._known.cursor
        return json.dumps({"of": self._of, "from": self._began})

    def groups(self) -> Iterator[list[Row]]:
        """Rows by record; a walk that breaks ends in a row that says so."""
        try:
            self._granularity = self._ask({"verb": "Identify"}).granularity
            first = self._first()
            if first.get("from", "") > first.get("until", "9"):
                return  # the wanted time is over
            yield from self._pages(first)
            yield from self._due()
            if self._known.positions(LISTING):
                yield withdrawn(LISTING, [0], ANSWERED)
        except _Stopped as stopped:
            yield same_origin(LISTING, [{"error": BROKEN, "detail": str(stopped)}], self._of)

    def _pages(self, first: dict[str, str]) -> Iterator[list[Row]]:
        asked, restarts = first, 0
        tokens: set[str] = set()
        for number in range(MOST_PAGES):
            fine = ("noRecordsMatch", "badResumptionToken") if number else ("noRecordsMatch",)
            page = self._ask(asked, number > 0, fine)
            self._began = self._began or page.date
            if page.error is not None and page.error[0] == "badResumptionToken":
                restarts += 1
                if restarts > MOST_RESTARTS:
                    raise _Stopped(f"badResumptionToken, {restarts} times: {page.error[1]}")
                asked, tokens = first, set()
                continue
            yield from self._fresh(page.records)
            if not page.token:
                self._complete = True
                return
            if page.token in tokens:
                raise _Stopped("its resumption tokens go round in a circle")
            tokens.add(page.token)
            asked = {"verb": "ListRecords", "resumptionToken": page.token}
        raise _Stopped(f"over {MOST_PAGES} pages")

    def _due(self) -> Iterator[list[Row]]:
        """Records whose pictures failed in passing: they need not have changed, so they are asked for one by one."""
        for identifier in self._due_origins:
            if _key(identifier) not in self._seen and identifier not in (LISTING, NAMELESS):
                params = {
                    "verb": "GetRecord",
                    "identifier": identifier,
                    "metadataPrefix": self._source.prefix,
                }
                page = self._ask(params, True, ("idDoesNotExist",))
                if page.error is not None:
                    yield withdrawn(identifier, [0], f"deleted {page.date}")
                yield from self._fresh(page.records[:1])

    def _fresh(self, records: list[Record]) -> Iterator[list[Row]]:
        """A record that comes twice in a walk is taken once: its last change is for the next walk."""
        for record in records:
            key = _key(record.identifier)
            if key in self._seen:
                continue
            self._seen.add(key)
            if record.identifier:
                yield self._source.record_rows(record)
            else:
                nameless = {"error": "bad_row", "detail": "records without an identifier"}
                yield same_origin(NAMELESS, [nameless], self._of)

    def _ask(self, params: dict[str, str], later: bool = False, fine: tuple[str, ...] = ()) -> Page:
        """One response; what is wrong with the first is an error of the configuration. `fine` errors are answers.

        Raises:
            SourceError: the repository cannot be asked, or refuses the question.
            _Stopped: the same, in the middle of a walk; or it may pass until the next run.
        """
        source = self._source
        if web_address(source.url) is None:
            raise SourceError(f'url = "{redacted(source.url)}": should begin with http:// or https://')
        joint = "&" if "?" in source.url else "?"
        found = self._web.get(source.url + joint + urlencode(params), ACCEPT)
        wrong = ""
        if found.body is None:
            wrong = f"{found.error}: {found.detail or ''}"
        else:
            try:
                page = parse(found.body)
            except BrokenPage as broken:
                wrong = str(broken)
            else:
                code = page.error[0] if page.error else ""
                if not code or code in fine:
                    return page
                wrong = f"{code}: {page.error[1]}" if page.error else code
        if later or found.error in PASSING:
            raise _Stopped(wrong)
        raise SourceError(f"{redacted(source.url)}, {params['verb']}: {wrong.rstrip(': ')}")

    def _first(self) -> dict[str, str]:
        """The question that a walk begins with."""
        source = self._source
        params: dict[str, Any] = {"verb": "ListRecords", "metadataPrefix": source.prefix, "set": source.set}
        since = [source.since if len(self._due_origins) > MOST_DUE else self._stored(), source.since]
        params["from"] = max((self._date(date, "T00:00:00Z") for date in since if date), default=None)
        params["until"] = self._date(source.until, "T23:59:59Z") if source.until else None
        return {name: value for name, value in params.items() if value}

    def _date(self, date: str, time: str) -> str:
        """A date in the repository's granularity."""
        if "T" not in self._granularity:
            return date[:10]
        return date if "T" in date else date + time

    def _stored(self) -> str | None:
        try:
            stored = json.loads(self._known.cursor or "")
        except ValueError:
            return None
        if not isinstance(stored, dict) or stored.get("of") != self._of:
            return None
        date = stored.get("from")
        return date if isinstance(date, str) and _DATE.fullmatch(date) else None
