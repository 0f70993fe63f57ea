"""Pictures named by their URLs in a CSV, TSV, JSONL, Parquet or text list.

`origin` is the URL as it is written, so a relative one has the same identity wherever `base_url` points; the
rows of one URL are numbered in the order of the list. Only rows that are new or changed are fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field, PrivateAttr

from pipeline import fetch, records
from pipeline.fetch import FetchSettings
from pipeline.rows import Positions, RowSource, as_text, batches, unseen
from pipeline.step import Shard, digest

AT_ONCE = 1 << 16
"""Rows held against what is known in one go."""


class UrlList(RowSource, FetchSettings):
    """Pictures fetched from a list of URLs, with whatever its columns say of them."""

    unfingerprinted: ClassVar[frozenset[str]] = frozenset(
        {"path", "base_url", "shard_rows", *FetchSettings.model_fields} - {"max_bytes"}
    )

    path: str = Field(description='The list, or a pattern ("lists/*.csv").')
    base_url: str | None = Field(default=None, description="What relative URLs are relative to.")
    shard_rows: int = Field(default=1024, gt=0, description="Rows in a part.")

    _attempts: dict[str, list[fetch.Attempt]] = PrivateAttr(default_factory=dict)

    def shards(self, known: pa.Table) -> Iterator[Shard]:
        """Lists the rows that are new or changed against `known`, in the order of the list.

        Raises:
            SourceError: no such list, or no column of URLs in it.
        """
        fresh: list[list[Any]] = []
        for rows in _chunks(self._listed(), AT_ONCE):
            new = unseen([row[0] for row in rows], [row[2] for row in rows], known)
            fresh.extend(row for row, is_new in zip(rows, new, strict=True) if is_new)
            while len(fresh) >= self.shard_rows:
                yield _shard(fresh[: self.shard_rows])
                del fresh[: self.shard_rows]
        if fresh:
            yield _shard(fresh)

    def read(self, shard: Shard) -> Iterator[pa.RecordBatch]:
        return batches(self._fetched(shard))

    def attempts(self, shard: Shard) -> pa.Table | None:
        """The ledger of the requests made when the shard was last read."""
        made = self._attempts.pop(shard.key, None)
        return None if made is None else fetch.ledger(made)

    def _listed(self) -> Iterator[list[Any]]:
        """[origin, position, version, line, what is wrong] of every row."""
        settings = self.fingerprint()
        positions = Positions()
        for path in records.files(self.path):
            for row in self.stated(path, "url"):
                origin = as_text(row.key) if row.wrong is None else f"{path.name}#{row.number}"
                position = positions.take(origin or "", row.position, row.texts)
                content = f"{settings}{position}{row.line}{row.wrong}"
                version = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
                yield [origin, position, version, row.line, row.wrong]

    def _fetched(self, shard: Shard) -> Iterator[dict[str, Any]]:
        rows_of: dict[str, list[list[Any]]] = {}
        for listed in shard.payload["rows"]:
            origin, position, version, _, wrong = listed
            if wrong is None:
                rows_of.setdefault(origin, []).append(listed)
            else:
                base = {"origin": origin, "position": position, "version": version}
                yield {**base, "error": "bad_row", "detail": wrong}
        attempts = self._attempts[shard.key] = []
        for found in fetch.fetch_many(rows_of, self, self.base_url):
            attempts.extend(found.attempts)
            for origin, position, version, line, _ in rows_of[found.url]:
                got = {"image": found.body, "error": found.error, "detail": found.detail, "url": origin}
                for place, row in enumerate(self.unfold(line), position):
                    yield {**row, **got, "origin": origin, "version": version, "position": place}


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
