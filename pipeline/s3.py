"""Objects of a bucket, with as much of `pathlib.Path` as the sources use: s3://bucket/key?endpoint=…&region=…

How a bucket is addressed and reached, and what its errors mean, is written in `storage.bucket`.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Any, Self

import pyarrow as pa
from pyarrow import fs

from pipeline.errors import BucketError, SourceError
from storage.bucket import Address, AddressError, absent, answer

BUFFER = 8 << 20
"""Bytes asked for at once of a file that is read from its beginning to its end."""


@dataclass(frozen=True)
class S3File(Address):
    """An object, a folder of objects, or a pattern of them."""

    size: int = -1
    """Bytes, as the listing said; -1 where nobody asked."""
    mtime: int = 0
    """When it was last written, in ns since 1970."""

    @classmethod
    def parse(cls, uri: str) -> Self:
        """The file of a URI.

        Raises:
            SourceError: a part of it is wrong; the message repeats nothing that could be secret.
        """
        try:
            return super().parse(uri)
        except AddressError as error:
            raise SourceError(str(error)) from None

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def suffix(self) -> str:
        return self.path.suffix

    def __truediv__(self, name: str) -> Self:
        return replace(super().__truediv__(name), size=-1, mtime=0)

    def filesystem(self) -> fs.S3FileSystem:
        try:
            return self.client()
        except OSError as error:
            raise self.explained(error) from None
        except AddressError as error:
            raise SourceError(str(error)) from None

    def info(self) -> S3File | None:
        """The object with its size, or None if there is none of that key.

        Raises:
            BucketError: the bucket does not answer.
        """
        try:
            found = self.filesystem().get_file_info(self.place)
        except ValueError:  # an empty part in the key
            return None
        except OSError as error:
            raise self.explained(error) from None
        return self._listed(found) if found.type == fs.FileType.File else None

    def below(self, recursive: bool = True) -> Iterator[S3File]:
        """The objects below this folder; none if it is not there.

        Raises:
            BucketError: the bucket does not answer or refuses, or there is no such bucket.
        """
        folder = fs.FileSelector(self.place.rstrip("/"), recursive=recursive)
        try:
            found = self.filesystem().get_file_info(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self.explained(error) from None
        for entry in found:
            if entry.type == fs.FileType.File:
                yield self._listed(entry)

    def _listed(self, entry: fs.FileInfo) -> S3File:
        key = entry.path.partition("/")[2]
        return replace(self, key=key, size=entry.size, mtime=entry.mtime_ns or 0)

    def native(self) -> pa.NativeFile:
        """The object, opened for Arrow's own readers, whose errors `explained` puts into words.

        Raises:
            OSError: no such object, or one that cannot be read.
            BucketError: the bucket does not answer or refuses.
        """
        try:
            return self.filesystem().open_input_file(self.place)
        except OSError as error:
            raise self.explained(error) from None
        except ValueError:
            raise OSError(None, "its key has an empty part, which cannot be read") from None

    def open(self, mode: str = "r", buffering: int = BUFFER, **text: Any) -> IO[Any]:
        """Opens the object for reading, in bytes ("rb") or as text."""
        raw = io.BufferedReader(_Reading(self), buffering)
        return raw if mode == "rb" else io.TextIOWrapper(raw, **text)

    def read_bytes(self) -> bytes:
        with self.open("rb") as file:
            return file.read()

    def explained(self, error: OSError) -> Exception:
        """What an error of the SDK means, without its words: BucketError, or OSError where it is this file's alone."""
        if isinstance(error, _Told):
            return error
        if words := self.refusal(error):
            return BucketError(words)
        if absent(error):
            return FileNotFoundError(errno.ENOENT, "no such file")
        return _Told(None, answer(error))


class _Told(OSError):
    """An error whose words are ours already."""


class _Reading(io.RawIOBase):
    """An object's bytes; a network that fails in the middle is a BucketError, never a short file."""

    def __init__(self, file: S3File) -> None:
        self._file, self._native = file, file.native()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        try:
            return self._native.readinto(into)
        except OSError as error:
            raise self._file.explained(error) from None

    def readall(self) -> bytes:
        try:
            return self._native.read()
        except OSError as error:
            raise self._file.explained(error) from None

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._native.seek(offset, whence)

    def tell(self) -> int:
        return self._native.tell()

    def close(self) -> None:
        if not self.closed:
            self._native.close()
        super().close()
