"""Libraries' pictures by IIIF: manifests and collections of the Presentation API, versions 2 and 3.

`origin` is a manifest's id and a canvas's id, `document` the manifest's id; the languages of a caption are
positions. Collections are walked through, pages and nested ones too. A picture comes through the Image API in
about the wanted size. A canvas is taken again when what its manifest says of it changed, and withdrawn when its
manifest no longer has it, or is gone itself.

With `changes`, a stream of the Change Discovery API, a run reads the collections and, of their manifests, those that
are new to us or that the stream says have changed. Without it, every run asks for each manifest: a library of
100,000 manifests of 50 kB is 5 GB a night. Of unchanged canvases no picture is asked for either way.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, ClassVar

from pydantic import Field

from pipeline import records
from pipeline.formats.iiif_changes import Changed, Page, newest_page, read_page, since
from pipeline.formats.iiif_manifest import Part, is_collection, is_manifest, manifest_rows, web_address
from pipeline.formats.image_api import identity, listed
from pipeline.records import SourceError
from pipeline.step import Shard, digest
from pipeline.web.client import Web
from pipeline.web.ledger import Fetched
from pipeline.web.packing import Row, pack, same_origin, unpack, withdrawn
from pipeline.web.source import Known, WebSource
from pipeline.web.urls import redacted

ACCEPT = (
    'application/ld+json;profile="http://iiif.io/api/presentation/3/context.json", '
    "application/ld+json;q=0.9, application/json;q=0.8, */*;q=0.1"
)
AT_ONCE = 32
"""Manifests held in memory."""
MOST_COLLECTIONS = 100_000
"""Collections, and pages of them, in one walk."""
MOST_PAGES = 100_000
"""Of a stream of changes."""
MOST_FAILED = 10_000
"""Manifests that the cursor names; with more, the next run begins where this one did."""
LEFT = "left"
GONE = frozenset(("http_404", "http_410"))
"""What a manifest's address answers when the manifest was taken down."""


class IIIF(WebSource):
    """Manifests and collections of libraries and museums, a caption for each language."""

    version: ClassVar[int] = 1
    unfingerprinted: ClassVar[frozenset[str]] = frozenset({"urls", "changes", "shard_rows", "limit"})

    urls: tuple[str, ...] = Field((), description="Manifests or collections.")
    changes: str = Field(
        "",
        description="The library's stream of changes (Change Discovery API): after a first complete run, manifests "
        "are read that are new in urls or that it names. Without urls, all that it names are read.",
    )
    size: int = Field(512, ge=1, le=1 << 16, description="Wanted longer side of a picture, in pixels.")
    caption: tuple[Part, ...] = Field(
        ("label", "canvas", "summary"),
        description="What a caption is made of: label, canvas, summary, metadata.",
    )
    limit: int | None = Field(None, gt=0, description="Most new or changed canvases of one run.")
    shard_rows: int = Field(256, gt=0, description="Rows in a part, about.")

    def shards(self, known: Known, web: Web) -> Generator[Shard, None, str | None]:
        """Walks through the collections and reads every manifest, or those that changed; the cursor is the time of
        the newest change, and whose it was.

        Raises:
            SourceError: no URL, or one that is none; or a stream of changes that cannot be read.
        """
        if not self.urls and not self.changes:
            raise SourceError("urls = []: name a manifest or a collection")
        for url in (*self.urls, *([self.changes] if self.changes else [])):
            if web_address(url) is None:
                raise SourceError(f'"{redacted(url)}": should begin with http:// or https://')
        if not self.changes:
            yield from pack(self._groups(known, web, Walk(self.urls)), known, self.shard_rows, self.limit)
            return None
        stood = Stand.read(known.cursor, self._mark())
        began = datetime.now(UTC)
        whole = stood.newest is None and bool(self.urls)  # then the stream only says where it stands
        changed = since(islice(self._stream(web), 1 if whole else None), stood.newest, began)
        walk = self._following(known, stood, changed)
        complete = yield from pack(self._groups(known, web, walk), known, self.shard_rows, self.limit)
        if not complete or walk.broken or changed.newest is None or len(walk.failed) > MOST_FAILED:
            return known.cursor
        return Stand(stood.mark, changed.newest, sorted(walk.failed)).written()

    def _mark(self) -> str:
        """What a cursor belongs to: other addresses are read from their beginning."""
        return digest([redacted(url) for url in (self.changes, *self.urls)])

    def _following(self, known: Known, stood: Stand, changed: Changed) -> Walk:
        """What to read, and what need not be."""
        canvases = [*known.rows["origin"].to_pylist(), *known.due["origin"].to_pylist()]
        ours = {_manifest(origin) for origin in canvases if "#" in origin}
        due = [origin.partition("#")[0] for origin in known.due["origin"].to_pylist()]
        again = dict.fromkeys([*changed.read, *stood.failed, *due])
        walk = Walk(self.urls or tuple(again), manifests=ours)
        walk.told_of = {_manifest(redacted(name)) for name in changed.gone}
        walk.hearsay = set(due) - {*changed.read, *stood.failed}
        if stood.newest is not None:
            walk.unchanged = ours - {_manifest(redacted(name)) for name in again}
        return walk

    def read(self, shard: Shard, web: Web) -> Iterator[Row]:
        return unpack(shard)

    def _stream(self, web: Web) -> Iterator[Page]:
        """Pages of the stream of changes, the newest first."""
        top = web.get(self.changes, ACCEPT)
        address, seen = newest_page(_json(top), top.final_url or self.changes), set[str]()
        if address is None:
            raise SourceError(f"{redacted(self.changes)}: {top.error or 'not a stream of changes'}")
        while address is not None and address not in seen:
            seen.add(address)
            if len(seen) > MOST_PAGES:
                raise SourceError(f"{redacted(self.changes)}: over {MOST_PAGES} pages of changes")
            found = web.get(address, ACCEPT)
            page = read_page(_json(found), found.final_url or address)
            if page is None:
                raise SourceError(f"{redacted(address)}: {found.error or 'not a page of changes'}")
            yield page
            address = page.before

    def _groups(self, known: Known, web: Web, walk: Walk) -> Iterator[list[Row]]:
        """Rows by origin; an origin that comes a second time in one walk is left out."""
        salt, seen = self.fingerprint(), set[str]()
        defaults = {
            name: value for name in ("licence", "lang", "task", "author") if (value := getattr(self, name))
        }
        for origin, rows in self._walk(web, walk):
            told = [{**defaults, **{name: v for name, v in row.items() if v is not None}} for row in rows]
            group = same_origin(origin, told, salt)
            if (name := group[0]["origin"]) not in seen:
                seen.add(name)
                yield group
        # Last, for two manifests may hold one canvas.
        for origin in dict.fromkeys(known.rows["origin"].to_pylist() + known.due["origin"].to_pylist()):
            if origin not in seen and _manifest(origin) in walk.told_of:
                yield withdrawn(origin, [0], LEFT)

    def _walk(self, web: Web, walk: Walk) -> Iterator[tuple[str, list[Row]]]:
        """Breadth first; every address once, so that collections that hold each other come to an end."""
        todo = deque(url for url in dict.fromkeys(walk.urls) if walk.wants(url))
        seen = set(todo)
        collections = 0
        while todo:
            urls = [todo.popleft() for _ in range(min(AT_ONCE, len(todo)))]
            for url, found in zip(urls, web.get_many(urls, ACCEPT), strict=True):
                value, base = _json(found), redacted(found.final_url or url)
                walk.note(url, found, value)
                if is_collection(value):
                    collections += 1
                    if collections > MOST_COLLECTIONS:
                        walk.broken = True
                        told = {"error": "too_large", "detail": f"over {MOST_COLLECTIONS} collections"}
                        yield redacted(url), [told]
                        return
                    for member in members(value, found.final_url or url):
                        if member not in seen and walk.wants(member):
                            seen.add(member)
                            todo.append(member)
                elif is_manifest(value):
                    walk.told_of.add(_manifest(redacted(identity(value) or base)))
                    yield from manifest_rows(value, base, self.size, self.caption)
                else:
                    yield redacted(url), [_unusable(found, value)]


@dataclass
class Walk:
    """What one run reads of a library, and what came of it."""

    urls: tuple[str, ...]
    manifests: set[str] = field(default_factory=set)
    """Those whose canvases we have."""
    unchanged: set[str] = field(default_factory=set)
    """Of those, the ones that need not be read again."""
    hearsay: set[str] = field(default_factory=set)
    """Addresses that are only a manifest's name for itself: that they lead nowhere does not mean that it is gone."""
    told_of: set[str] = field(default_factory=set)
    """What has answered, or is gone: of that, all there is comes in this walk."""
    failed: set[str] = field(default_factory=set)
    """Manifests that could not be read."""
    broken: bool = False
    """Whether something else could not be read that may have been a collection."""

    def wants(self, url: str) -> bool:
        return _manifest(redacted(url)) not in self.unchanged

    def note(self, url: str, found: Fetched, value: Any) -> None:
        """Takes down whether an address answered, and with what."""
        name = _manifest(redacted(url))
        gone = found.error in GONE and url not in self.hearsay
        if is_collection(value) or is_manifest(value) or gone:
            self.told_of.add(name)
        elif found.error != "consent_refused" and url not in self.hearsay:
            self.failed.add(url)
            # A password must not be stored, so such an address cannot be named in the cursor.
            self.broken |= name not in self.manifests or redacted(url) != url


@dataclass(frozen=True)
class Stand:
    """How far a stream of changes has been followed: the cursor."""

    mark: str
    newest: datetime | None = None
    failed: Sequence[str] = ()
    """Manifests of ours that could not be read since."""

    def written(self) -> str:
        assert self.newest is not None
        return json.dumps([self.mark, self.newest.isoformat(), self.failed])

    @classmethod
    def read(cls, cursor: str | None, mark: str) -> Stand:
        """From a cursor, if it belongs to these addresses."""
        name, newest, failed = json.loads(cursor) if cursor else ("", "", [])
        return cls(mark, datetime.fromisoformat(newest), failed) if name == mark else cls(mark)


def _manifest(origin: str) -> str:
    """What a manifest and its canvases share; http and https are the same manifest."""
    name = origin.partition("#")[0]
    return name.partition("://")[2] or name


def _json(found: Fetched) -> Any:
    return records.parse_json(found.body.removeprefix(b"\xef\xbb\xbf")) if found.body is not None else None


def _unusable(found: Fetched, value: Any) -> Row:
    if found.error or found.body is None:
        return {"error": found.error or "no_manifest", "detail": found.detail}
    kind = "not JSON" if isinstance(value, records.NotJson) else "neither a manifest nor a collection"
    return {"error": "no_manifest", "detail": kind}


def members(collection: dict[str, Any], base: str) -> Iterator[str]:
    """Addresses of a collection's manifests, collections and pages; collections inside it are opened at once."""
    todo = deque([collection])
    while todo:
        opened = todo.popleft()
        for name in ("members", "manifests", "collections", "items"):
            for member in listed(opened.get(name)):
                inside = isinstance(member, dict) and any(
                    isinstance(member.get(key), list)
                    for key in ("members", "manifests", "collections", "items")
                )
                if inside and is_collection(member):
                    todo.append(member)
                elif address := web_address(identity(member), base):
                    yield address
        for page in (opened.get("first"), opened.get("next")):  # version 2 divides a long list into pages
            if address := web_address(identity(page), base):
                yield address
