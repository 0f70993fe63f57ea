"""Rows that a source made while it listed: held against what is known, packed into shards, and read back."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import numpy as np

from pipeline.rows import as_bytes
from pipeline.step import Shard, digest
from pipeline.text import MAX_BYTES, to_bytes
from pipeline.web.source import WITHDRAWN, Known

Row = dict[str, Any]


def same_origin(origin: str, rows: Iterable[Row], salt: Any) -> list[Row]:
    """The rows of one origin, numbered, under one version: the digest of all that they say."""
    rows = [{name: _valid(value) for name, value in row.items() if value is not None} for row in rows]
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
        tries = ({"tries": known.tries.get(row.get("fetch", ""), 0)} for row in group)
        held += [
            {**row, **(tried if tried["tries"] else {})} for row, tried in zip(group, tries, strict=True)
        ]
        held += withdrawn(origin, gone, version)
        if len(held) >= shard_rows:
            yield _shard(held, known.cursor)
            held = []
    if held:
        yield _shard(held, known.cursor)
    return complete


def unpack(shard: Shard) -> Iterator[Row]:
    """The rows of a shard that `pack` made."""
    for row in shard.payload["rows"]:
        yield {**row, "text": as_bytes(row["text"])} if "text" in row else dict(row)


def _shard(rows: list[Row], cursor: str | None) -> Shard:
    """The key counts earlier tries and the cursor, or a picture that is due again would pass for done."""
    key = digest([cursor, [[r["origin"], r["position"], r["version"], r.get("tries", 0)] for r in rows]])
    return Shard(key, {"rows": rows}, len(rows))


class Before:
    """What is known, by hashes: origins with versions and positions, in 20 bytes a row."""

    def __init__(self, known: Known) -> None:
        rows = known.rows
        origins = rows["origin"].to_pylist()
        versions = rows["version"].to_pylist()
        self._pairs = np.sort(_hashes(f"{o}\0{v}" for o, v in zip(origins, versions, strict=True)))
        named = _hashes(f"{origin}" for origin in origins)
        order = np.argsort(named, kind="stable")
        self._origins = named[order]
        if "position" in rows.column_names:
            places = np.array([place or 0 for place in rows["position"].to_pylist()], dtype=np.int32)
            self._places = places[order]
        else:
            self._places = np.zeros(len(order), dtype=np.int32)

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
