"""Asks again, for rows that are in the store, whether their sites still let us keep them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urljoin

from pipeline.refused import Refused
from pipeline.web import intake
from pipeline.web.client import Web
from pipeline.web.ledger import Fetched
from pipeline.web.settings import FetchSettings
from storage.store import Store

WITHDRAWN = "consent_withdrawn"
AT_ONCE = 2_000
"""URLs whose answers are held before their rows are withdrawn."""

KEPT = """
SELECT asked, source, list(sample_id ORDER BY sample_id) AS rows FROM (
    SELECT sample_id, source, unnest([url, page_url]) AS asked FROM samples
    WHERE image_id IS NOT NULL OR text IS NOT NULL)
WHERE asked IS NOT NULL GROUP BY ALL ORDER BY asked
"""
"""Addresses of pictures and of their pages, with the rows that hold something of them, also rows that a filter drops:
another threshold may bring them back."""
YOUNG = "SELECT DISTINCT url FROM consents WHERE recorded_at >= ?::TIMESTAMPTZ"


@dataclass(frozen=True)
class Rechecked:
    """What came of a recheck."""

    asked: int
    refused: int
    unreachable: int
    """Could not be asked: nothing follows from that."""
    withdrawn: int
    """Rows that lost their content."""


def run(
    store: Store,
    settings: FetchSettings,
    bases: Mapping[str, str | None],
    older_than: timedelta,
    progress: Callable[[int, str], None] = lambda *_: None,
) -> Rechecked:
    """Asks for every address whose consent is older than that, and withdraws the rows of those that now refuse.

    `bases` maps a source's name to what its relative URLs are relative to.
    """
    rows = due(store, bases, datetime.now(UTC) - older_than)
    asked = refused = unreachable = withdrawn = 0
    with Web(settings, Refused.of(store)) as web:
        for answers in _chunks(web, list(rows)):
            no = [one for one in answers if one.error == "consent_refused"]
            asked, refused = asked + len(answers), refused + len(no)
            unreachable += sum(one.error not in (None, "consent_refused") for one in answers)
            withdrawn += intake.withdraw(store, [row for one in no for row in rows[one.url]], WITHDRAWN)
            intake.note(store, web.asides())
            progress(asked, f"{refused} refuse")
    return Rechecked(asked, refused, unreachable, withdrawn)


def due(store: Store, bases: Mapping[str, str | None], since: datetime) -> dict[str, list[str]]:
    """Absolute URL to rows, of what was not asked since then."""
    with store.connect() as db:
        kept = db.sql(KEPT).to_arrow_table().to_pylist()
        young = set(db.sql(YOUNG, params=[since.isoformat()]).to_arrow_table()["url"].to_pylist())
    rows: dict[str, list[str]] = {}
    for one in kept:
        url = urljoin(bases.get(one["source"]) or "", one["asked"])
        if url not in young and url.startswith(("http://", "https://")):
            rows.setdefault(url, []).extend(one["rows"])
    return rows


def _chunks(web: Web, urls: list[str]) -> Iterator[list[Fetched]]:
    for start in range(0, len(urls), AT_ONCE):
        yield [
            future.result() for future in [web.ask(url, peek=True) for url in urls[start : start + AT_ONCE]]
        ]
