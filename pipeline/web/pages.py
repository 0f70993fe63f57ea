"""A page as rows: a pair for each text said of a picture, and one document of text and pictures in reading order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from pipeline.formats.html import Page
from pipeline.formats.pictures import Picture
from pipeline.rows import Positions
from pipeline.text import to_bytes
from pipeline.web.consent import forbids, refused_by_headers
from pipeline.web.ledger import Decision
from pipeline.web.settings import FetchSettings
from pipeline.web.source import WebSource
from pipeline.web.urls import redacted

Place = Callable[[Picture], dict[str, Any]]
"""Where a picture's bytes come from: {"fetch": URL}, {"image": bytes} or {"error": …}."""


class PageSource(WebSource):
    """What sources of pages share."""

    unfingerprinted: ClassVar[frozenset[str]] = frozenset()

    pairs: bool = Field(True, description="A row for each text said of a picture: alt, caption, title.")
    documents: bool = Field(
        True, description="Rows of the page as one document: its texts and pictures in reading order."
    )
    min_side: int = Field(
        0, ge=0, description="Pictures that a page shows smaller are left out, in CSS pixels; 0 takes all."
    )

    def page_rows(self, page: Page, origin: str, place: Place, **told: Any) -> Iterator[dict[str, Any]]:
        """The rows of a page: its document under `origin`, pairs under `origin` and the picture's URL.

        `told` is what is known of how the page came. A page that gives no row at all is a row that says so.
        """
        base = {
            "page_url": redacted(page.url),
            "lang": page.head.lang or self.lang,
            "licence": page.head.licence or self.licence,
            "author": page.head.author or self.author,
        }
        count = 0
        if self.documents:
            for row in self._document(page, place):
                own = {"origin": origin, "document": origin, "position": count}
                yield {**base, **_told(row, told), **row, **own}
                count += 1
        if self.pairs:
            for row in self._pairs(page, origin, place):
                yield {**base, **_told(row, told), **row}
                count += 1
        if count == 0:
            wanted = "text and no picture" if self.documents else "picture of which something is said"
            detail = f"no {wanted}" + (f"; {page.cut}" if page.cut else "")
            yield {**base, **told, "origin": origin, "position": 0, "error": "empty_page", "detail": detail}

    def _document(self, page: Page, place: Place) -> Iterator[dict[str, Any]]:
        for segment in page.segments:
            if segment.text is not None:
                yield {"task": "text", "text": to_bytes(segment.text)}
            elif segment.picture is not None and not segment.picture.smaller(self.min_side):
                yield {"task": "text", "url": redacted(segment.picture.url), **place(segment.picture)}

    def _pairs(self, page: Page, origin: str, place: Place) -> Iterator[dict[str, Any]]:
        positions, said = Positions(), set[tuple[str, str]]()
        for picture in page.pictures:
            if picture.smaller(self.min_side):
                continue
            url = redacted(picture.url)
            own = f"{origin} {url}"
            for text in picture.texts:
                if (url, text) in said:
                    continue
                said.add((url, text))
                row = {"origin": own, "document": own, "position": positions.take(own), "url": url}
                yield {**row, "task": self.task or "caption", "text": to_bytes(text), **place(picture)}


def _told(row: Mapping[str, Any], told: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the page came, unless the row's picture comes by a request of its own."""
    return {} if "fetch" in row else told


def refusal(page: Page, headers: Iterable[tuple[str, str]], settings: FetchSettings) -> Decision | None:
    """What a page or its HTTP headers say against this use, or None."""
    if (found := refused_by_headers(headers, settings)) is not None:
        return found
    agent = settings.user_agent.partition("/")[0].lower()
    for name, content in page.head.robots:
        if "meta" in settings.consent and name in ("robots", agent) and forbids(content, settings.refusals):
            return Decision(False, "meta", f"{name}: {content}"[:200])
        if "tdmrep" in settings.consent and name == "tdm-reservation" and content.strip() == "1":
            return Decision(False, "tdmrep", "meta tdm-reservation: 1")
    return None


def refused_row(decision: Decision) -> dict[str, Any]:
    """The columns of a row that may not be used, with the words that say so."""
    detail = f"{decision.basis}: {decision.evidence}"
    return {"error": "consent_refused", "detail": detail, "consent": "refused"}


def origin_page(origin: str) -> str:
    """The page that a row's origin belongs to: pairs add their picture's URL to it."""
    return origin.partition(" ")[0]
