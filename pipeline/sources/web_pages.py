"""Pages of the web by their URLs, from a list or a sitemap: pairs of picture and text, and whole documents.

`origin` is the page's URL for its document and the page's and the picture's URL for a pair. A page is read
again when its sitemap says that it changed; what it then no longer shows is withdrawn, as is a page that is gone or
says no. A page that fails is a row with its error, and leaves what was read of it before as it is. A page that is read
again only because some of its pictures are due touches no row that is fine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import Field

from pipeline import records
from pipeline.files import look_for
from pipeline.formats import sitemap
from pipeline.formats.archive import HTML
from pipeline.formats.html import read_page
from pipeline.formats.img import absolute
from pipeline.records import SourceError
from pipeline.rows import as_text
from pipeline.step import Shard, digest
from pipeline.web.client import Web, host_of
from pipeline.web.ledger import Fetched, about
from pipeline.web.pages import PageSource, origin_page, refusal, refused_row
from pipeline.web.source import WITHDRAWN, Known
from pipeline.web.urls import redacted

PAGES = "text/html, application/xhtml+xml, */*;q=0.1"
SITEMAPS = "application/xml, text/xml, text/plain, */*;q=0.1"
ANSWERS = frozenset({None, "empty_page", "http_404", "http_410", "http_451", "consent_refused"})
"""What a page may come to that replaces what it showed before; after another error the earlier rows stay."""
DEEPEST = 3
"""Sitemaps that list sitemaps."""


@dataclass
class _Before:
    """What is known of pages: their rows by page, and by page and version those that are fine and those due again."""

    rows: dict[str, list[list[Any]]] = field(default_factory=lambda: defaultdict(list))
    fine: dict[tuple[str, str], list[list[Any]]] = field(default_factory=lambda: defaultdict(list))
    due: dict[tuple[str, str], list[list[Any]]] = field(default_factory=lambda: defaultdict(list))


class WebPages(PageSource):
    """Pages by URL or by sitemap, with the pictures that they show."""

    unfingerprinted: ClassVar[frozenset[str]] = frozenset(
        {"path", "urls", "sitemaps", "limit", "max_sitemaps", "shard_rows"}
    )

    path: str | None = Field(None, description='A list with a column of URLs, or a pattern ("lists/*.csv").')
    urls: tuple[str, ...] = Field((), description="URLs of pages.")
    sitemaps: tuple[str, ...] = Field(
        (),
        description="URLs of sitemaps or indexes of them; pages are read again when their lastmod changes.",
    )
    limit: int | None = Field(None, gt=0, description="Most new or changed pages of one run.")
    max_sitemaps: int = Field(1000, gt=0, description="Most sitemaps read.")
    shard_rows: int = Field(32, gt=0, description="Pages in a part.")

    def check(self) -> None:
        if self.path:
            look_for(self.path)

    def shards(self, known: Known, web: Web) -> Generator[Shard, None, str | None]:
        """Lists the pages that are new, changed or due again.

        Raises:
            SourceError: no list, or none of its columns holds URLs.
        """
        if not (self.path or self.urls or self.sitemaps):
            raise SourceError("web_pages: say path, urls or sitemaps")
        before, seen, fresh = _before(known), set[str](), list[list[Any]]()
        made, mark = 0, self.fingerprint()[:8]
        for url, changed, wrong in self._listed(web):
            page = redacted(absolute(url, url) or url)
            if page in seen:
                continue
            seen.add(page)
            version = f"{changed or 'read'} {mark}"
            fine, due = before.fine.get((page, version), []), before.due.get((page, version), [])
            if fine and not due:
                continue
            fresh.append([url, page, version, wrong, before.rows.get(page, []), fine, due])
            made += 1
            if len(fresh) == self.shard_rows:
                yield _shard(fresh)
                fresh = []
            if made == self.limit:
                break
        if fresh:
            yield _shard(fresh)
        return None

    def read(self, shard: Shard, web: Web) -> Iterator[dict[str, Any]]:
        """The rows of the shard's pages that are not fine yet, and rows that withdraw what is no longer shown."""
        asked = [listed for listed in shard.payload["pages"] if listed[3] is None]
        for _, page, version, wrong, *_ in shard.payload["pages"]:
            if wrong is not None:
                yield {"origin": page, "position": 0, "version": version, **wrong}
        answers = web.get_many([listed[0] for listed in asked], accept=PAGES)
        for found, (_, page, version, _, rows_before, fine, _) in zip(answers, asked, strict=True):
            rows = {(row["origin"], row["position"]): row for row in self._rows(found, page, web)}
            errors = {row.get("error") for row in rows.values()}
            # An error is about the whole page; else only what is due was asked for.
            kept = {(origin, position) for origin, position in fine} if errors <= {None} else set()
            for place, row in rows.items():
                if place not in kept:
                    yield {**row, "version": version}
            for origin, position in rows_before if errors <= ANSWERS else ():
                if (origin, position) not in rows and (origin, position) not in kept:
                    withdrawn = {"origin": origin, "position": position, "version": version}
                    yield {**withdrawn, "error": WITHDRAWN, "detail": "the page no longer shows it"}

    def _rows(self, found: Fetched, origin: str, web: Web) -> Iterator[dict[str, Any]]:
        told = {**about(found), "page_url": redacted(found.final_url or found.url)}
        told.pop("url", None)
        failed = {**told, "origin": f"{origin} (page)", "position": 0}
        if found.body is None:
            yield {**failed, "error": found.error, "detail": found.detail}
            return
        if found.media_type and found.media_type not in HTML:
            yield {**failed, "error": "not_a_page", "detail": found.media_type[:100]}
            return
        page = read_page(found.body, found.final_url or found.url, found.charset)
        if (decision := refusal(page, found.headers.items(), web.settings)) is not None:
            yield {**failed, **refused_row(decision)}
            return
        told.pop("page_url")
        yield from self.page_rows(page, origin, lambda picture: {"fetch": picture.url}, **told)

    def _listed(self, web: Web) -> Iterator[tuple[str, str | None, dict[str, Any] | None]]:
        """(URL, when it changed, what is wrong with it) of every page."""
        for url in self.urls:
            yield _checked(url)
        for path in records.files(self.path) if self.path else ():
            for row in self.stated(path, "url"):
                if row.wrong is not None:
                    yield f"{path.name}#{row.number}", None, {"error": "bad_row", "detail": row.wrong}
                else:
                    yield _checked(as_text(row.key) or "")
        if self.sitemaps:
            yield from self._in_sitemaps(web)

    def _in_sitemaps(self, web: Web) -> Iterator[tuple[str, str | None, dict[str, Any] | None]]:
        """Pages of the sitemaps' own sites, site by site as they are listed; a sitemap that fails is a row.

        The site is that of the sitemap which the settings name: what it leads to speaks for no other.
        """
        todo = [(url, 0, _site(url)) for url in self.sitemaps]
        seen = set(self.sitemaps)
        while todo:
            url, depth, site = todo.pop(0)
            found = web.get(url, accept=SITEMAPS)
            if found.body is None:
                yield url, None, {**about(found), "error": found.error, "detail": found.detail}
                continue
            listed = sitemap.parse(found.body, found.final_url or url)
            if listed.wrong:
                yield url, None, {"error": "bad_sitemap", "detail": listed.wrong}
            for page, changed in listed.pages:
                if _site(page) == site:
                    yield page, changed, None
            for other, _ in listed.sitemaps:
                if _site(other) != site or depth >= DEEPEST or other in seen:
                    continue
                if len(seen) < self.max_sitemaps:
                    seen.add(other)
                    todo.append((other, depth + 1, site))


def _checked(url: str) -> tuple[str, None, dict[str, Any] | None]:
    """A listed URL, and what is wrong with one that is none."""
    wrong = None if absolute(url, url) else {"error": "bad_url", "detail": "not an http or https URL"}
    return url, None, wrong


def _site(url: str) -> str:
    """The host and port that a URL names, without "www."."""
    return host_of(url).removeprefix("www.")


def _before(known: Known) -> _Before:
    """The known rows by page."""
    made = _Before()
    for table in (known.rows, known.due):
        if not table.num_rows:
            continue
        positions = (
            table["position"].to_pylist() if "position" in table.column_names else [0] * table.num_rows
        )
        for origin, version, position in zip(
            table["origin"].to_pylist(), table["version"].to_pylist(), positions, strict=True
        ):
            page, row = origin_page(origin), [origin, position]
            made.rows[page].append(row)
            (made.due if table is known.due else made.fine)[page, version].append(row)
    return made


def _shard(pages: list[list[Any]]) -> Shard:
    """What a page showed before does not change what it shows now, and is no part of the key; what is due is."""
    key = digest([[page, version, due] for _, page, version, _, _, _, due in pages])
    return Shard(key, {"pages": pages}, len(pages))
