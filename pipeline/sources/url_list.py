"""Pictures named by their URLs in a CSV, TSV, JSON, JSONL, Parquet or text list, or in saved replies of an API.

`origin` is the URL as it is written, so a relative one has the same identity wherever `base_url` points; the
rows of one URL are numbered in the order of the list. Only rows that are new or changed are fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from typing import Any, ClassVar

from pydantic import Field

from pipeline import records
from pipeline.files import look_for
from pipeline.rows import Positions, as_text, unseen
from pipeline.step import Shard, digest
from pipeline.web.client import Web
from pipeline.web.source import Known, WebSource
from pipeline.web.urls import absolute, redacted

AT_ONCE = 1 << 14
"""Rows held against what is known in one go."""


class UrlList(WebSource):
    """Pictures fetched from a list of URLs, with whatever its columns say of them."""

    unfingerprinted: ClassVar[frozenset[str]] = frozenset({"path", "items", "base_url", "shard_rows"})

    path: str = Field(description='The list, or a pattern ("lists/*.csv").')
    items: str | None = Field(
        default=None,
        description='Where the rows lie in a JSON document ("photos.photo"; "" if it is the list, or one row).',
    )
    base_url: str | None = Field(
        default=None,
        description='What relative URLs are relative to, or a pattern that holds one: "https://host/{}.jpg".',
    )
    shard_rows: int = Field(default=1024, gt=0, description="Rows in a part.")

    def check(self) -> None:
        look_for(self.path)

    def shards(self, known: Known, web: Web) -> Generator[Shard, None, str | None]:
        """Lists the rows that are new, changed or due again, in the order of the list.

        Raises:
            SourceError: no such list, or no column of URLs in it.
        """
        fresh: list[list[Any]] = []
        for rows in _chunks(self._listed(), AT_ONCE):
            new = unseen([row[0] for row in rows], [row[2] for row in rows], known.rows)
            fresh.extend(row for row, is_new in zip(rows, new, strict=True) if is_new)
            while len(fresh) >= self.shard_rows:
                yield _shard(fresh[: self.shard_rows])
                del fresh[: self.shard_rows]
        if fresh:
            yield _shard(fresh)
        return None

    def read(self, shard: Shard, web: Web) -> Iterator[dict[str, Any]]:
        """The rows of a shard, each with the URL to fetch."""
        for origin, position, version, line, wrong, url in shard.payload["rows"]:
            base = {"origin": origin, "version": version}
            if wrong is not None:
                yield {**base, "position": position, "error": "bad_row", "detail": wrong}
                continue
            for place, row in enumerate(self.unfold(line), position):
                yield {**row, **base, "url": origin, "position": place, "fetch": url}

    def _listed(self) -> Iterator[list[Any]]:
        """[origin, position, version, line, what is wrong, URL] of every row."""
        settings = self.fingerprint()
        positions = Positions()
        for path in records.files(self.path):
            for row in self.stated(path, "url", self.items):
                url = as_text(row.key) or ""
                origin = redacted(url) if row.wrong is None else f"{path.name}#{row.number}"
                position = positions.take(origin, row.position, row.texts)
                content = f"{settings}{position}{row.line}{row.wrong}"
                version = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
                yield [origin, position, version, row.line, row.wrong, absolute(url, self.base_url)]


def _shard(rows: list[list[Any]]) -> Shard:
    return Shard(digest([row[:3] for row in rows]), {"rows": rows}, len(rows))


def _chunks(rows: Iterator[list[Any]], size: int) -> Iterator[list[list[Any]]]:
    held: list[list[Any]] = []
    for row in rows:
        held.append(row)
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held
