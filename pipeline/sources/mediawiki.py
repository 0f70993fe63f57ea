"""Pictures of Wikimedia Commons, or of any MediaWiki, through its Action API.

`origin` is the page's number, which stays when a file is renamed; captions and descriptions in their languages
are positions. Without a category or a search every file of the wiki is listed. Every `full_days` the whole list
is walked through, which finds changed texts and files, and withdraws what was deleted; the runs between list what came
since the last one, and ask again for what is due. A search is always walked through.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, ClassVar, Self
from urllib.parse import urlencode

from pydantic import Field, model_validator

from pipeline import records
from pipeline.formats.iiif_manifest import web_address
from pipeline.formats.languages import Text
from pipeline.formats.wiki_pages import (
    Page,
    add_pages,
    api_error,
    continuation,
    entity_labels,
    origin_of,
    page_rows,
    warning,
)
from pipeline.records import SourceError
from pipeline.step import Shard, digest
from pipeline.web.client import Web
from pipeline.web.errors import PASSING
from pipeline.web.ledger import Fetched, now
from pipeline.web.packing import Row, pack, same_origin, unpack, withdrawn
from pipeline.web.source import Known, WebSource
from pipeline.web.urls import redacted

ACCEPT = "application/json, */*;q=0.1"
AT_ONCE = 50
"""Pages that the API takes by number in one request."""
MOST_REPLIES = 1000
"""Replies of one batch."""
MOST_BATCHES = 1_000_000
MOST_WAITS = 6
LONGEST_WAIT = 30.0
"""A wiki that lags behind, or that we asked too often, is waited for so often and so long, in seconds."""
OVERLAP = timedelta(days=1)
"""Of two walks: the wiki's clock is not ours, and its copies lag behind."""
BUSY = frozenset(("maxlag", "ratelimited", "readonly"))
NO_CAPTIONS = frozenset(("badvalue", "unknown_action", "unknown_wbgetentities"))
DELETED = "deleted"
BROKEN = "broken_listing"
ANSWERED = "answered"
LISTING = "(listing)"
"""Origin of the row that says so: it does not name the server, which may move."""


class MediaWiki(WebSource):
    """Files of a wiki with their captions and descriptions."""

    version: ClassVar[int] = 1
    unfingerprinted: ClassVar[frozenset[str]] = frozenset(
        {"api", "category", "search", "full_days", "maxlag", "shard_rows", "limit"}
    )

    api: str = Field(description="Address of the API: https://commons.wikimedia.org/w/api.php")
    category: str | None = Field(None, description="Only files of this category, e.g. Category:Lighthouses.")
    search: str | None = Field(None, description="Only files that this search finds.")
    size: int = Field(
        512, ge=0, le=1 << 16, description="Wanted width of a picture, in pixels; 0 for the original."
    )
    captions: bool = Field(True, description="Whether to ask for the captions of the structured data too.")
    full_days: int = Field(
        7,
        ge=0,
        description="Walk through the whole list after so many days, else only what is new; 0 always.",
    )
    maxlag: int = Field(5, ge=0, description="Wait while the wiki's copies lag behind by more, in seconds.")
    limit: int | None = Field(None, gt=0, description="Most new or changed files of one run.")
    shard_rows: int = Field(256, gt=0, description="Rows in a part, about.")

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if self.category and self.search:
            raise ValueError("category and search: say one of them")
        return self

    def shards(self, known: Known, web: Web) -> Generator[Shard, None, str | None]:
        """Lists the files, or what is new of them; the cursor says when that was last done.

        Raises:
            SourceError: no wiki's API at that address, or one that refuses the question.
        """
        if web_address(self.api) is None:
            raise SourceError(f'api = "{redacted(self.api)}": should begin with http:// or https://')
        walk = _Walk(self, known, web)
        complete = yield from pack(walk.groups(), known, self.shard_rows, self.limit)
        return walk.cursor() if complete else known.cursor

    def read(self, shard: Shard, web: Web) -> Iterator[Row]:
        return unpack(shard)

    def page_group(self, page: Page, labels: list[Text], doubt: str = "") -> list[Row]:
        """The rows of one page."""
        file, rows = page_rows(page, labels, self.size > 0, doubt)
        defaults = {
            name: value for name in ("licence", "lang", "task", "author") if (value := getattr(self, name))
        }
        told = [{**defaults, **{name: v for name, v in row.items() if v is not None}} for row in rows]
        return same_origin(origin_of(page), told, [self.fingerprint(), file])

    def question(self, since: str | None = None, numbers: Sequence[str] = ()) -> dict[str, str]:
        """What a walk asks for: all, what came since, or the pages of these numbers."""
        if numbers:
            which = {"pageids": "|".join(numbers)}
        elif self.category:
            name = self.category if ":" in self.category else f"Category:{self.category}"
            which = {"generator": "categorymembers", "gcmtitle": name, "gcmlimit": "50"}
            # By time, the API ignores the type; by type, it is quicker than by namespace.
            new = {"gcmnamespace": "6", "gcmsort": "timestamp", "gcmstart": since} if since else {}
            which |= new or {"gcmtype": "file"}
        elif self.search:
            which = {"generator": "search", "gsrsearch": self.search, "gsrnamespace": "6", "gsrlimit": "50"}
        else:
            which = {"generator": "allimages", "gailimit": "50"}
            which |= {"gaisort": "timestamp", "gaistart": since} if since else {}
        wanted = {"prop": "imageinfo", "iiprop": "url|extmetadata|size|mime|sha1|timestamp"}
        return {"action": "query", **which, **wanted, "iiextmetadatamultilang": "1"} | (
            {"iiurlwidth": str(self.size)} if self.size else {}
        )


class _Stopped(Exception):
    """The walk cannot go on."""


class _Walk:
    """One listing, batch by batch."""

    def __init__(self, source: MediaWiki, known: Known, web: Web) -> None:
        self._source, self._known, self._web = source, known, web
        self._captions = source.captions
        self._seen: set[str] = set()
        self._began, self._begun, self._complete = now(), False, False
        self._of = digest([source.api, source.category, source.search, source.fingerprint()])
        self._full, self._since = self._stored()

    def cursor(self) -> str | None:
        """When the whole list was last walked through, and since when a file is new; it names the list too."""
        if not self._complete or not self._source.full_days or self._source.search:
            return self._known.cursor
        full, since = self._full or self._began, self._began - OVERLAP
        return json.dumps({"of": self._of, "full": full.isoformat(), "from": f"{since:%Y-%m-%dT%H:%M:%SZ}"})

    def _stored(self) -> tuple[datetime | None, str | None]:
        """What the cursor says, unless it is time for the whole list."""
        try:
            stored = json.loads(self._known.cursor or "")
            full, since = datetime.fromisoformat(stored["full"]), stored["from"]
            recent = self._began - full < timedelta(days=self._source.full_days)
        except (ValueError, TypeError, KeyError):
            return None, None
        return (full, since) if recent and stored.get("of") == self._of else (None, None)

    def groups(self) -> Iterator[list[Row]]:
        """Rows by page; a walk that breaks ends in a row that says so."""
        try:
            yield from self._pages(self._source.question(self._since))
            yield from self._gone() if self._since is None else self._due()
            self._complete = True
            if self._known.positions(LISTING):
                yield withdrawn(LISTING, [0], ANSWERED)
        except _Stopped as stopped:
            yield same_origin(LISTING, [{"error": BROKEN, "detail": str(stopped)}], None)

    def _pages(self, question: dict[str, str]) -> Iterator[list[Row]]:
        for pages, doubt in self._batches(question):
            fresh = {origin: page for origin, page in pages.items() if origin not in self._seen}
            self._seen |= set(fresh)
            labels = self._labels([origin for origin in fresh if origin.isdecimal()])
            for origin, page in fresh.items():
                if origin.isdecimal() and _missing(page):
                    yield withdrawn(origin, [0], DELETED)
                else:
                    yield self._source.page_group(page, labels.get(origin, []), doubt)

    def _due(self) -> Iterator[list[Row]]:
        """Files whose pictures failed in passing: they need not be new, so they are asked for by their numbers."""
        due = dict.fromkeys(self._known.due["origin"].to_pylist())
        todo = iter([origin for origin in due if origin.isdecimal() and origin not in self._seen])
        while some := list(islice(todo, AT_ONCE)):
            yield from self._pages(self._source.question(numbers=some))

    def _batches(self, question: dict[str, str]) -> Iterator[tuple[dict[str, Page], str]]:
        """Pages whose every property has come, however many replies that took; and what the wiki warned of."""
        more: dict[str, str] = {}
        asked: set[tuple[tuple[str, str], ...]] = set()
        for _ in range(MOST_BATCHES):
            pages: dict[str, Page] = {}
            doubt = ""
            for _ in range(MOST_REPLIES):
                reply = self._ask({**question, **more})
                add_pages(pages, reply)
                doubt = doubt or warning(reply)
                more = continuation(reply)
                mark = tuple(sorted(more.items()))
                if mark in asked:
                    raise _Stopped("its continuations go round in a circle")
                asked.add(mark)
                if not more or reply.get("batchcomplete", False) is not False:
                    break
            else:
                raise _Stopped(f"a batch in over {MOST_REPLIES} replies")
            yield pages, doubt
            if not more:
                return
        raise _Stopped(f"over {MOST_BATCHES} batches")

    def _labels(self, numbers: list[str]) -> dict[str, list[Text]]:
        """Captions of the structured data, where the wiki has such."""
        found: dict[str, list[Text]] = {}
        todo = iter(numbers)
        while self._captions and (some := list(islice(todo, AT_ONCE))):
            ids = "|".join(f"M{number}" for number in some)
            reply = self._ask({"action": "wbgetentities", "ids": ids, "props": "labels"}, may=NO_CAPTIONS)
            error = api_error(reply)
            if error is not None:
                self._captions = False
            found |= entity_labels(reply)
        return found

    def _gone(self) -> Iterator[list[Row]]:
        """Withdraws pages that were known, are not listed any more, and are missing: not those only moved elsewhere."""
        pairs = [
            pair
            for rows in (self._known.rows, self._known.due)
            for pair in zip(rows["origin"].to_pylist(), rows["version"].to_pylist(), strict=True)
        ]
        unlisted = dict.fromkeys(
            origin
            for origin, version in pairs
            if origin.isdecimal() and origin not in self._seen and version != DELETED
        )
        todo = iter(unlisted)
        while some := list(islice(todo, AT_ONCE)):
            pages: dict[str, Page] = {}
            add_pages(pages, self._ask({"action": "query", "pageids": "|".join(some)}))
            for origin in some:
                if _missing(pages.get(origin, {})):
                    yield withdrawn(origin, [0], DELETED)

    def _ask(self, params: Mapping[str, str], may: frozenset[str] = frozenset()) -> dict[str, Any]:
        """One reply; what is wrong with the first is an error of the configuration. A busy wiki is waited for.

        Raises:
            SourceError: the wiki cannot be asked, or refuses the question.
            _Stopped: the same, in the middle of a walk; or it may pass until the next run.
        """
        fixed = {"format": "json", "formatversion": "2", "maxlag": str(self._source.maxlag)}
        joint = "&" if "?" in self._source.api else "?"
        url = self._source.api + joint + urlencode({**params, **fixed})
        wrong, passing = "", False
        for _ in range(MOST_WAITS):
            found = self._web.get(url, ACCEPT)
            if found.body is None:
                wrong, passing = f"{found.error}: {found.detail or ''}", found.error in PASSING
                break
            reply = records.parse_json(found.body.removeprefix(b"\xef\xbb\xbf"))
            error = api_error(reply)
            if error is None or error[0] in may:
                self._begun = True
                return reply
            wrong, passing = f"{error[0]}: {error[1]}", error[0] in BUSY
            if not passing:
                break
            time.sleep(_pause(found))
        if self._begun or passing:
            raise _Stopped(wrong)
        raise SourceError(f"{redacted(self._source.api)}: {wrong}")


def _missing(page: Page) -> bool:
    return page.get("missing", False) is not False


def _pause(found: Fetched) -> float:
    """How long a busy wiki asks us to wait."""
    said = found.headers.get("retry-after", "5")
    return min(float(said) if said.isdecimal() else 5.0, LONGEST_WAIT)
