"""What may not come in again, known by salted digests alone: whoever reads the tables learns nothing of what was forgotten.

The salt lies in `forget.key`, readable by its owner only. Of a picture's looks two hashes are kept, masked with the salt:
how many bits two of them differ in is the same under any mask, so that near-copies are still known.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from storage.contamination import folded
from storage.errors import StoreCorrupt
from storage.lock import lock

if TYPE_CHECKING:
    from storage.store import Store

KEY = "forget.key"
KINDS = ("sample", "picture", "looks", "url", "host", "source", "licence", "text")
DIGITS = 32
"""Hex digits of a digest."""
HOST = r"^[a-zA-Z][a-zA-Z0-9+.\-]*://(?:[^/?#@]*@)?([^/?#:@]+)"
"""The host of a URL, in words that Python and DuckDB both understand."""
BITS = (1 << 64) - 1


def key_of(folder: Path, *, create: bool = False) -> bytes | None:
    """A store's salt; None if it has none yet and none is to be made."""
    file = folder / KEY
    if not file.exists() and create:
        with lock(folder / ".locks" / KEY):  # of two that make one at once, both must have the same
            if not file.exists():
                _make(file)
    return file.read_bytes() if file.exists() else None


def _make(file: Path) -> None:
    scratch = file.with_name(f".{KEY}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(secrets.token_hex(32).encode())
        out.flush()
        os.fsync(out.fileno())
    scratch.rename(file)


def digest(key: bytes, kind: str, value: str) -> str:
    """What stands for a thing of some kind."""
    text = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
    return hmac.new(key, text, hashlib.sha256).hexdigest()[:DIGITS]


def seal(key: bytes, text: str) -> str:
    """What shows that a text was written by this store, and not changed since."""
    return hmac.new(key, b"seal\0" + text.encode(), hashlib.sha256).hexdigest()


def masked(key: bytes, looks: tuple[int, int | None]) -> str:
    """A picture's grey and colour hash (int64) under the salt's mask, hex; "-" for no colour."""
    mask = hmac.new(key, b"looks", hashlib.sha256).digest()
    grey, colour = (
        None if one is None else (one & BITS) ^ int.from_bytes(mask[8 * n : 8 * n + 8])
        for n, one in enumerate(looks)
    )
    return f"{grey:016x}" + ("-" if colour is None else f"{colour:016x}")


def host(url: str | None) -> str | None:
    """The host that a URL names, in lower case."""
    found = re.match(HOST, url or "")
    return found[1].lower() if found else None


@dataclass(frozen=True)
class Entry:
    """A row of the blocklist, without the request that it came from."""

    kind: str
    digest: str
    radius: int | None = None


class Blocklist:
    """What a store may not take in again."""

    def __init__(self, key: bytes, entries: Iterable[Entry]) -> None:
        self._key = key
        self._held: dict[str, set[str]] = defaultdict(set)
        self._looks: list[tuple[str, int]] = []
        for one in entries:
            if one.kind == "looks":
                self._looks.append((one.digest, one.radius or 0))
            else:
                self._held[one.kind].add(one.digest)
        self._fold: duckdb.DuckDBPyConnection | None = None

    @classmethod
    def load(cls, store: Store) -> Blocklist:
        """As it stands now.

        Raises:
            StoreCorrupt: its salt is gone, so that nothing could be known again.
        """
        rows = store.read("blocklist", ["kind", "digest", "radius"]).to_pylist()
        key = key_of(store.path)
        if rows and key is None:
            raise StoreCorrupt(
                f"{store.path / KEY} is missing: what was forgotten could come in again. Restore it from a backup"
            )
        return cls(key or b"", [Entry(**row) for row in rows])

    def __bool__(self) -> bool:
        return bool(self._held or self._looks)

    @property
    def knows_looks(self) -> bool:
        """Whether pictures have to be hashed to be known again."""
        return bool(self._looks)

    def holds(self, kind: str, *values: str | None) -> bool:
        """Whether one of some things was forgotten."""
        held = self._held.get(kind, set())
        return bool(held) and any(one is not None and digest(self._key, kind, one) in held for one in values)

    def holds_url(self, *urls: str | None) -> bool:
        """Whether one of some URLs was, or its host."""
        return self.holds("url", *urls) or self.holds("host", *map(host, urls))

    def holds_text(self, *texts: str | None) -> bool:
        """Whether one of some texts was, however it is written (`contamination.folded`)."""
        if not self._held.get("text"):
            return False
        if self._fold is None:
            self._fold = scratch()
        return self.holds("text", *fold(self._fold, [one for one in texts if one]))

    def holds_looks(self, looks: tuple[int, int | None]) -> bool:
        """Whether a picture of these hashes was: both must be near, so that look-alikes stay."""
        if not self._looks:
            return False
        asked = masked(self._key, looks)
        return any(near(asked, known, radius) for known, radius in self._looks)


def near(one: str, other: str, radius: int) -> bool:
    """Whether two masked looks differ in at most so many bits of each hash."""
    if ("-" in one) != ("-" in other):
        return False
    pairs = [(one[:16], other[:16])] if "-" in one else [(one[:16], other[:16]), (one[16:], other[16:])]
    return all((int(a, 16) ^ int(b, 16)).bit_count() <= radius for a, b in pairs)


def scratch() -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own, to fold texts in."""
    return duckdb.connect()


def fold(db: duckdb.DuckDBPyConnection, texts: Sequence[str]) -> list[str]:
    """The keys by which texts are the same; DuckDB's, so that a row and a question agree in every character."""
    table = pa.table({"place": range(len(texts)), "text": pa.array(texts, pa.string())})
    cursor = db.cursor()
    cursor.register("asked_texts", table)
    query = f"SELECT {folded('text')} FROM asked_texts ORDER BY place"
    return [row[0] for row in cursor.execute(query).fetchall()]


def rows(entries: Iterable[Entry], request: str) -> list[dict[str, Any]]:
    """The rows of the table."""
    return [{**vars(one), "request_id": request} for one in entries]
