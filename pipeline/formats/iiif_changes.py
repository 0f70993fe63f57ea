"""IIIF Change Discovery 1.0: which manifests of a library were made, changed or taken down since a point in time.

A library publishes activities in pages, oldest first; they are read from the newest page backwards, and each manifest's
newest activity is the one that counts (section 4 of the specification).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.formats.iiif_manifest import web_address
from pipeline.formats.image_api import identity, objects

MADE = frozenset(("create", "update", "add"))
GONE = frozenset(("delete", "remove"))
REFRESH = "refresh"
"""From here on, everything there is was announced anew."""


@dataclass(frozen=True)
class Change:
    """One activity on one manifest; `kind` in lower case, `ended` in UTC where it is stated."""

    kind: str
    manifest: str
    ended: datetime | None


@dataclass
class Page:
    """Activities, newest first, and the address of the page before, which is older."""

    changes: list[Change] = field(default_factory=list)
    before: str | None = None


@dataclass
class Changed:
    """What a consumer should do: read some manifests, forget others; and when the newest activity ended."""

    read: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    newest: datetime | None = None


def newest_page(stream: Any, base: str) -> str | None:
    """The address of the newest page of a stream, None if it is no stream."""
    if not isinstance(stream, dict) or stream.get("type") != "OrderedCollection":
        return None
    return web_address(identity(stream.get("last")), base)


def read_page(value: Any, base: str) -> Page | None:
    """The activities of a page, None if it is no page; what is no activity on a manifest is left out."""
    if not isinstance(value, dict) or value.get("type") != "OrderedCollectionPage":
        return None
    page = Page(before=web_address(identity(value.get("prev")), base))
    for activity in reversed(objects(value.get("orderedItems"))):
        page.changes += _changes(activity, base)
    return page


OVERLAP = timedelta(hours=1)
"""Activities may be published a little after the time that they state."""


def since(pages: Iterable[Page], then: datetime | None, now: datetime) -> Changed:
    """What changed since `then`, or ever: no more pages are taken than that needs. A time that has not come yet counts
    as now."""
    found, known = Changed(newest=then), set[str]()
    until = then - OVERLAP if then is not None else None
    announced = False  # a refresh was passed: of what lies before it only the deletions count
    for page in pages:
        for change in page.changes:
            if until is not None and change.ended is not None and change.ended < until:
                return found
            if change.ended is not None:
                ended = min(change.ended, now)
                found.newest = max(found.newest or ended, ended)
            if change.kind == REFRESH:
                if then is None:
                    return found
                announced = True
            elif change.manifest not in known:
                known.add(change.manifest)
                if change.kind in GONE:
                    found.gone.append(change.manifest)
                elif not announced:
                    found.read.append(change.manifest)
    return found


def _changes(activity: dict[str, Any], base: str) -> list[Change]:
    kind, ended = str(activity.get("type")).lower(), _time(activity.get("endTime"))
    if kind == REFRESH:
        return [Change(kind, "", ended)]
    moved = [("delete", activity.get("object")), ("create", activity.get("target"))]
    named = moved if kind == "move" else [(kind, activity.get("object"))]
    return [
        Change(kind, address, ended)
        for kind, thing in named
        if kind in MADE | GONE
        and isinstance(thing, dict)
        and thing.get("type") == "Manifest"
        and (address := web_address(identity(thing), base))
    ]


def _time(value: Any) -> datetime | None:
    """An xsd:dateTime in UTC; one without a zone is taken to be in UTC."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
