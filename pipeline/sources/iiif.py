"""Libraries' pictures by IIIF: manifests and collections of the Presentation API, versions 2 and 3.

`origin` is a manifest's id and a canvas's id, `document` the manifest's id; the languages of a caption are
positions. Collections are walked through, pages and nested ones too. A picture comes through the Image API in
about the wanted size. A canvas is taken again when what its manifest says of it changed, and withdrawn when its
manifest no longer has it, or is gone itself.

Every run asks for each collection and each manifest once, changed or not: a library of 100,000 manifests of 50 kB is
5 GB a night. Of unchanged canvases no picture is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, ClassVar

from pydantic import Field

from pipeline import records
from pipeline.formats.iiif_manifest import Part, is_collection, is_manifest, manifest_rows, web_address
from pipeline.formats.image_api import identity, listed
from pipeline.records import SourceError
from pipeline.step import Shard
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
LEFT = "left"
GONE = frozenset(("http_404", "http_410"))
"""What a manifest's address answers when the manifest was taken down."""


class IIIF(WebSource):
    """Manifests and collections of libraries and museums, a caption for each language."""

    version: ClassVar[int] = 1
    unfingerprinted: ClassVar[frozenset[str]] = frozenset({"urls", "shard_rows", "limit"})

    urls: tuple[str, ...] = Field((), description="Manifests or collections.")
    size: int = Field(512, ge=1, le=1 << 16, description="Wanted longer side of a picture, in pixels.")
    caption: tuple[Part, ...] = Field(
        ("label", "canvas", "summary"),
        description="What a caption is made of: label, canvas, summary, metadata.",
    )
    limit: int | None = Field(None, gt=0, description="Most new or changed canvases of one run.")
    shard_rows: int = Field(256, gt=0, description="Rows in a part, about.")

    def shards(self, known: Known, web: Web) -> Generator[Shard, None, str | None]:
        """Walks through the collections and reads every manifest; it has no cursor.

        Raises:
            SourceError: no URL, or one that is none.
        """
        if not self.urls:
            raise SourceError("urls = []: name a manifest or a collection")
        for url in self.urls:
            if web_address(url) is None:
                raise SourceError(f'urls = ["{redacted(url)}"]: should begin with http:// or https://')
        yield from pack(self._groups(known, web), known, self.shard_rows, self.limit)
        return None

    def read(self, shard: Shard, web: Web) -> Iterator[Row]:
        return unpack(shard)

    def _groups(self, known: Known, web: Web) -> Iterator[list[Row]]:
        """Rows by origin; an origin that comes a second time in one walk is left out."""
        salt = self.fingerprint()
        seen, told_of = set[str](), set[str]()
        defaults = {
            name: value for name in ("licence", "lang", "task", "author") if (value := getattr(self, name))
        }
        for origin, rows in self._walk(web, told_of):
            told = [{**defaults, **{name: v for name, v in row.items() if v is not None}} for row in rows]
            group = same_origin(origin, told, salt)
            if (name := group[0]["origin"]) not in seen:
                seen.add(name)
                yield group
        # Last, for two manifests may hold one canvas.
        for origin in dict.fromkeys(known.rows["origin"].to_pylist() + known.due["origin"].to_pylist()):
            if origin not in seen and _manifest(origin) in told_of:
                yield withdrawn(origin, [0], LEFT)

    def _walk(self, web: Web, told_of: set[str]) -> Iterator[tuple[str, list[Row]]]:
        """Breadth first; every address once, so that collections that hold each other come to an end.

        What has answered goes into `told_of`: of that, all there is comes in this walk.
        """
        todo = deque(dict.fromkeys(self.urls))
        seen = set(todo)
        collections = 0
        while todo:
            urls = [todo.popleft() for _ in range(min(AT_ONCE, len(todo)))]
            for url, found in zip(urls, web.get_many(urls, ACCEPT), strict=True):
                value, name, base = _json(found), redacted(url), redacted(found.final_url or url)
                if is_collection(value) or is_manifest(value) or found.error in GONE:
                    told_of.add(_manifest(name))
                if is_collection(value):
                    collections += 1
                    if collections > MOST_COLLECTIONS:
                        yield name, [{"error": "too_large", "detail": f"over {MOST_COLLECTIONS} collections"}]
                        return
                    fresh = [
                        member for member in members(value, found.final_url or url) if member not in seen
                    ]
                    seen |= set(fresh)
                    todo += dict.fromkeys(fresh)
                elif is_manifest(value):
                    told_of.add(_manifest(redacted(identity(value) or base)))
                    yield from manifest_rows(value, base, self.size, self.caption)
                else:
                    yield name, [_unusable(found, value)]


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
