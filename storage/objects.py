"""A bucket's objects as files that DuckDB reads.

Data files never change once a commit names them, so what was learned of one holds for ever: each is asked for its size
once, and a small one is read once. (DuckDB asks for a file's size, type and date a dozen times a query.)
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from fsspec.spec import AbstractFileSystem

if TYPE_CHECKING:
    from storage.location import BucketFolder

SMALL = 1 << 20
"""Bytes up to which an object is read whole, and kept."""
KEPT = 64 << 20
"""Bytes of small objects that a process keeps."""
KNOWN = 4_096
"""Objects that it keeps open: their sizes, no connections."""
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Content:
    """What is in an object, by range."""

    def __init__(self, native: pa.NativeFile) -> None:
        self.native = native
        self.size = native.size()
        self.whole: bytes | None = None

    def range(self, start: int, length: int) -> bytes:
        if self.whole is not None:
            return self.whole[start : start + length]
        return self.native.read_at(length, start)


class Cache:
    """Objects that were opened, the least used given up first; threads may share it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: OrderedDict[str, Content] = OrderedDict()
        self._bytes = 0

    def get(self, name: str) -> Content | None:
        with self._guard:
            if found := self._known.get(name):
                self._known.move_to_end(name)
            return found

    def put(self, name: str, content: Content) -> Content:
        with self._guard:
            if name in self._known:
                return self._known[name]
            self._known[name] = content
            self._bytes += len(content.whole or b"")
            while len(self._known) > KNOWN or (self._bytes > KEPT and len(self._known) > 1):
                _, old = self._known.popitem(last=False)
                self._bytes -= len(old.whole or b"")
            return content


_CACHES: dict[tuple[str, str], Cache] = {}


def look_anew(home: BucketFolder) -> None:
    """Gives up what is known of a bucket's objects: some were replaced."""
    _CACHES.pop((home.address.bucket, home.address.query), None)


class Objects(AbstractFileSystem):
    """A bucket for DuckDB, read only."""

    protocol = "s3"
    cachable = False

    def __init__(self, home: BucketFolder) -> None:
        super().__init__()
        self._home = home
        self._cache = _CACHES.setdefault((home.address.bucket, home.address.query), Cache())

    def content(self, path: str) -> Content:
        """An object's content.

        Raises:
            StoreUnreachable: the bucket does not answer or refuses.
            FileNotFoundError: there is no such object.
        """
        place = path.removeprefix("s3://")
        if found := self._cache.get(place):
            return found
        with self._home.told():
            content = Content(self._home.client().open_input_file(place))
            if content.size <= SMALL:
                content.whole = content.native.read_at(content.size, 0)
        return self._cache.put(place, content)

    def read(self, content: Content, start: int, length: int) -> bytes:
        """A range of an object."""
        with self._home.told():
            return content.range(start, length)

    def glob(self, path: str, **_: Any) -> list[str]:
        """The path itself: files are named one by one, never by a pattern."""
        return [path]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": self.content(path).size, "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        return True

    def modified(self, path: str) -> datetime:
        return _LONG_AGO

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        return Reading(self, self.content(path))


class Reading(io.RawIOBase):
    """An object that is open, at a position."""

    def __init__(self, objects: Objects, content: Content) -> None:
        self._objects, self._content, self._at = objects, content, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        left = self._content.size - self._at
        found = self._objects.read(
            self._content, self._at, left if size is None or size < 0 else min(size, left)
        )
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._content.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at
