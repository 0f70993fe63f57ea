"""Pictures of Wikimedia Commons, or of any MediaWiki, through its Action API.

`origin` is the page's number, which stays when a file is renamed; captions and descriptions in their languages
are positions. Without a category or a search every file of the wiki is listed. What was known and is
not listed any more is asked after, and withdrawn if it was deleted.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar, Self
from urllib.parse import urlencode

from pydantic import Field, model_validator

from pipeline import records
from pipeline.records import SourceError
from pipeline.step import Shard
from pipeline.web.client import Web
from pipeline.web.iiif_manifest import web_address
from pipeline.web.languages import Text
from pipeline.web.ledger import Fetched
from pipeline.web.packing import Row, pack, same_origin, unpack, withdrawn
from pipeline.web.source import Known, WebSource
from pipeline.web.wiki_pages import (
    Page,
    add_pages,
    api_error,
    continuation,
    entity_labels,
    origin_of,
    page_rows,
    warning,
)

ACCEPT = "application/json, */*;q=0.1"
AT_ONCE = 50
"""Pages that the API takes by number in one request."""
MOST_REPLIES = 1000
"""Replies of one batch."""
MOST_BATCHES = 1_000_000
MOST_WAITS = 6
LONGEST_WAIT = 30.0
"""A wiki that lags behind, or that we asked too often, is waited for so often and so long, in seconds."""
BUSY = frozenset(("maxlag", "ratelimited", "readonly"))
NO_CAPTIONS = frozenset(("badvalue", "unknown_action", "unknown_wbgetentities"))
DELETED = "deleted"
BROKEN = "broken_listing"
LISTING = "(listing)"
"""Origin of the row that says so: it does not name the server, which may move."""


class MediaWiki(WebSource):
    """Files of a wiki with their captions and descriptions."""

    version: ClassVar[int] = 1
    unfingerprinted: ClassVar[frozenset[str]] = frozenset(
        {"api", "category", "search", "maxlag", "shard_rows", "limit"}
    )

    api: str = Field(description="Address of the API: https://commons.wikimedia.org/w/api.php")
    category: str | None = Field(None, description="Only files of this category, e.g. Category:Lighthouses.")
    search: str | None = Field(None, description="Only files that this search finds.")
    size: int = Field(
        512, ge=0, le=1 << 16, description="Wanted width of a picture, in pixels; 0 for the original."
    )
    captions: bool = Field(True, description="Whether to ask for the captions of the structured data too.")
    maxlag: int = Field(5, ge=0, description="Wait while the wiki's copies lag behind by more, in seconds.")
    limit: int | None = Field(None, gt=0, description="Most new or changed files of one run.")
    shard_rows: int = Field(256, gt=0, description="Rows in a part, about.")

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if self.category and self.search:
            raise ValueError("category and search: say one of them")
        return self

    def shards(self, known: Known, web: Web) -> Generator[Shard, None, str | None]:
        """Lists the files, and asks after those that are gone; it has no cursor.

        Raises:
            SourceError: no wiki's API at that address, or one that refuses the question.
        """
        if web_address(self.api) is None:
            raise SourceError(f'api = "{self.api}": should begin with http:// or https://')
        yield from pack(_Walk(self, known, web).groups(), known, self.shard_rows, self.limit)
        return None

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

    def question(self) -> dict[str, str]:
        """What a walk asks for."""
        if self.category:
            name = self.category if ":" in self.category else f"Category:{self.category}"
            which = {"generator": "categorymembers", "gcmtitle": name, "gcmtype": "file", "gcmlimit": "50"}
        elif self.search:
            which = {"generator": "search", "gsrsearch": self.search, "gsrnamespace": "6", "gsrlimit": "50"}
        else:
            which = {"generator": "allimages", "gailimit": "50"}
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

    def groups(self) -> Iterator[list[Row]]:
        """Rows by page; a walk that breaks ends in a row that says so."""
        try:
            for pages, doubt in self._batches():
                fresh = {origin: page for origin, page in pages.items() if origin not in self._seen}
                self._seen |= set(fresh)
                labels = self._labels([origin for origin in fresh if origin.isdecimal()])
                for origin, page in fresh.items():
                    yield self._source.page_group(page, labels.get(origin, []), doubt)
            yield from self._gone()
        except _Stopped as stopped:
            yield same_origin(LISTING, [{"error": BROKEN, "detail": str(stopped)}], None)

    def _batches(self) -> Iterator[tuple[dict[str, Page], str]]:
        """Pages whose every property has come, however many replies that took; and what the wiki warned of."""
        question = self._source.question()
        more: dict[str, str] = {}
        asked: set[tuple[tuple[str, str], ...]] = set()
        for _ in range(MOST_BATCHES):
            pages: dict[str, Page] = {}
            doubt = ""
            for _ in range(MOST_REPLIES):
                reply = self._ask({**question, **more}, later=bool(asked))
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
            reply = self._ask(
                {"action": "wbgetentities", "ids": ids, "props": "labels"}, later=True, may=NO_CAPTIONS
            )
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
            add_pages(pages, self._ask({"action": "query", "pageids": "|".join(some)}, later=True))
            for origin in some:
                if pages.get(origin, {}).get("missing", False) is not False:
                    yield withdrawn(origin, [0], DELETED)

    def _ask(
        self, params: Mapping[str, str], later: bool, may: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        """One reply; what is wrong with the first is an error of the configuration. A busy wiki is waited for.

        Raises:
            SourceError: the wiki cannot be asked, or refuses the question.
            _Stopped: the same, in the middle of a walk.
        """
        fixed = {"format": "json", "formatversion": "2", "maxlag": str(self._source.maxlag)}
        joint = "&" if "?" in self._source.api else "?"
        url = self._source.api + joint + urlencode({**params, **fixed})
        wrong = ""
        for _ in range(MOST_WAITS):
            found = self._web.get(url, ACCEPT)
            if found.body is None:
                wrong = f"{found.error}: {found.detail or ''}"
                break
            reply = records.parse_json(found.body.removeprefix(b"\xef\xbb\xbf"))
            error = api_error(reply)
            if error is None or error[0] in may:
                return reply
            wrong = f"{error[0]}: {error[1]}"
            if error[0] not in BUSY:
                break
            time.sleep(_pause(found))
        if later:
            raise _Stopped(wrong)
        raise SourceError(f"{self._source.api}: {wrong}")


def _pause(found: Fetched) -> float:
    """How long a busy wiki asks us to wait."""
    said = found.headers.get("retry-after", "5")
    return min(float(said) if said.isdecimal() else 5.0, LONGEST_WAIT)
