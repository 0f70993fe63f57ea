"""Rows that a source made while it listed: held against what is known, packed into shards, and read back."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.rows import as_bytes
from pipeline.step import Shard, digest
from pipeline.text import MAX_BYTES, to_bytes
from pipeline.web.source import WITHDRAWN, Known
from pipeline.web.urls import redacted

Row = dict[str, Any]


def same_origin(origin: str, rows: Iterable[Row], salt: Any) -> list[Row]:
    """The rows of one origin, numbered, under one version: the digest of all that they say."""
    rows = [{name: _valid(value) for name, value in row.items() if value is not None} for row in rows]
    for row in rows:
        row |= {"page_url": redacted(row["page_url"])} if "page_url" in row else {}
    version = digest([salt, rows])
    origin = _valid(origin)
    return [
        {"origin": origin, "position": place, "version": version, **row} for place, row in enumerate(rows)
    ]


def withdrawn(origin: str, positions: Iterable[int], version: str) -> list[Row]:
    """Rows that take back an origin's rows."""
    same = {"origin": _valid(origin), "version": version, "error": WITHDRAWN}
    return [{**same, "position": place} for place in positions]


def pack(
    groups: Iterable[list[Row]], known: Known, shard_rows: int, limit: int | None = None
) -> Generator[Shard, None, bool]:
    """Shards of what is new or changed; returns whether the limit of new origins left everything in.

    A group holds the rows of one origin. Positions that a changed origin no longer has are withdrawn.
    """
    before = Before(known)
    held: list[Row] = []
    fresh, complete = 0, True
    for group in groups:
        origin, version = group[0]["origin"], group[0]["version"]
        if before.has(origin, version):
            continue
        if limit is not None and fresh >= limit:
            complete = False
            break
        fresh += 1
        kept = {row["position"] for row in group}
        gone = [place for place in before.positions(origin) if place not in kept]
        held += group
        held += withdrawn(origin, gone, version)
        if len(held) >= shard_rows:
            yield _shard(held)
            held = []
    if held:
        yield _shard(held)
    return complete


def unpack(shard: Shard) -> Iterator[Row]:
    """The rows of a shard that `pack` made."""
    for row in shard.payload["rows"]:
        yield {**row, "text": as_bytes(row["text"])} if "text" in row else dict(row)


def _shard(rows: list[Row]) -> Shard:
    return Shard(
        digest([[row["origin"], row["position"], row["version"]] for row in rows]), {"rows": rows}, len(rows)
    )


class Before:
    """What is known, by hashes: origins with versions and positions, in 20 bytes a row.

    Rows that are due for another try have a position, but count as unseen.
    """

    def __init__(self, known: Known) -> None:
        origins, versions = _column(known.rows, "origin"), _column(known.rows, "version")
        self._pairs = np.sort(_hashes(f"{o}\0{v}" for o, v in zip(origins, versions, strict=True)))
        named = _hashes(f"{origin}" for origin in [*origins, *_column(known.due, "origin")])
        order = np.argsort(named, kind="stable")
        self._origins = named[order]
        places = [place or 0 for table in (known.rows, known.due) for place in _column(table, "position")]
        self._places = np.array(places, dtype=np.int32)[order]

    def has(self, origin: str, version: str) -> bool:
        """Whether an origin is known in this version."""
        wanted = _hash(f"{origin}\0{version}")
        place = int(np.searchsorted(self._pairs, np.uint64(wanted)))
        return place < len(self._pairs) and int(self._pairs[place]) == wanted

    def positions(self, origin: str) -> list[int]:
        """The positions of an origin's rows; none if it is not known."""
        wanted = np.uint64(_hash(origin))
        first = int(np.searchsorted(self._origins, wanted, "left"))
        last = int(np.searchsorted(self._origins, wanted, "right"))
        return sorted({int(place) for place in self._places[first:last]})


def _column(rows: pa.Table, name: str) -> list[Any]:
    return rows[name].to_pylist() if name in rows.column_names else [None] * rows.num_rows


def _hash(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


def _hashes(texts: Iterable[str]) -> np.ndarray:
    return np.fromiter((_hash(text) for text in texts), dtype=np.uint64)


def _valid(value: Any) -> Any:
    """Text from outside as valid text, no longer than shows that it is too long; other values as they are."""
    if not isinstance(value, str):
        return value
    return to_bytes(value[: MAX_BYTES + 1]).decode("utf-8", "replace").replace("\0", "")
