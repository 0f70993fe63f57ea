"""Where files of tables lie: a folder of this machine, or one in a bucket. Who reads and writes them need not know which."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeAlias

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from pyarrow import fs

from storage import bucket
from storage.bucket import Address, AddressError
from storage.errors import StoreError, StoreUnreachable

SCRATCH = ".purge-"
"""How the names of files begin that are to take another's place, and did not yet."""
PLAIN = re.compile(r"[A-Za-z0-9._/-]*")
"""Keys that delta-rs, DuckDB and Arrow all read as they are written."""


class Folder:
    """A folder of this machine."""

    remote = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.path / name)

    @property
    def uri(self) -> str:
        """What delta-rs calls it."""
        return str(self.path)

    @property
    def options(self) -> dict[str, str] | None:
        """What delta-rs needs to reach it."""
        return None

    def file(self, name: str) -> str:
        """What DuckDB calls a file in it."""
        return str(self.path / name)

    def read(self, name: str) -> bytes | None:
        """A file's content, None if there is no such file."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def stamp(self, name: str) -> tuple[int, int] | None:
        """What changes when a file is written: its time and size; None if there is no such file."""
        try:
            found = (self.path / name).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size

    def open(self, name: str) -> pa.NativeFile:
        """A file, to be read."""
        return pa.OSFile(str(self.path / name))

    def create(self, name: str) -> pa.NativeFile:
        """A new file, to be written."""
        self.path.mkdir(parents=True, exist_ok=True)
        return fs.LocalFileSystem().open_output_stream(str(self.path / name))

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Bytes of each of the files that is there."""
        found = {}
        for name in names:
            with suppress(FileNotFoundError):
                found[name] = (self.path / name).stat().st_size
        return found

    def write(self, name: str, content: bytes) -> None:
        """Writes a small file."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_bytes(content)

    def remove(self, name: str) -> None:
        """Removes a file if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def names(self, end: str = "") -> list[str]:
        """Names of the files in it that end so, in order; none if there is no such folder."""
        there = self.path.iterdir() if self.path.is_dir() else ()
        return sorted(one.name for one in there if one.name.endswith(end) and one.is_file())

    @contextmanager
    def replacing(self, name: str) -> Iterator[IO[bytes]]:
        """A file that takes another's place when it is whole: who reads that one sees the old or the new."""
        scratch = self.path / f"{SCRATCH}{name}"
        with scratch.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        scratch.replace(self.path / name)

    def admit(self, con: duckdb.DuckDBPyConnection) -> None:
        """Lets DuckDB read it, which it can."""

    def explained(self, error: BaseException) -> StoreError | None:
        """What an error says about this place as a whole: here, nothing."""
        return None


class BucketFolder:
    """A folder in a bucket."""

    remote = True

    def __init__(self, address: Address) -> None:
        self.address = address
        self.name = address.name

    @classmethod
    def parse(cls, uri: str) -> BucketFolder:
        """The folder of a URI, s3://bucket/folder?endpoint=…&region=….

        Raises:
            StoreError: a part of it is wrong.
        """
        try:
            if not uri.startswith(bucket.SCHEME):
                raise AddressError("name a place in a bucket, as in s3://bucket/folder")
            found = Address.parse(uri)
            if not PLAIN.fullmatch(found.key) or "//" in found.key:
                raise AddressError("a key of a store has letters, digits, and . _ - between single slashes")
        except AddressError as error:
            raise StoreError(f"[store] tables: {error}") from None
        return cls(Address(found.bucket, found.key.rstrip("/"), found.query))

    def __str__(self) -> str:
        return self.address.shown

    def __truediv__(self, name: str) -> BucketFolder:
        return BucketFolder(self.address / name)

    @property
    def uri(self) -> str:
        """What delta-rs calls it."""
        return self.address.shown

    @property
    def options(self) -> dict[str, str] | None:
        """What delta-rs needs to reach it, beside the credentials, which it takes from the environment itself. A commit is
        a put on the condition that there is no such object: so two machines need no lock between them."""
        endpoint, region = self.address.endpoint, self.client().region
        return {
            "conditional_put": "etag",
            "AWS_REGION": region,
            "connect_timeout": f"{bucket.CONNECT_S}s",
            "timeout": f"{4 * bucket.REQUEST_S}s",
            "max_retries": str(bucket.TRIES),
            **({"AWS_ENDPOINT_URL": endpoint} if endpoint else {}),
            **({"AWS_ALLOW_HTTP": "true"} if endpoint.startswith("http:") else {}),
            **({"AWS_SKIP_SIGNATURE": "true"} if self.address.anonymous else {}),
        }

    def client(self) -> fs.S3FileSystem:
        """Arrow's client.

        Raises:
            StoreUnreachable: the bucket does not answer.
        """
        with self.told():
            return self.address.client()

    def file(self, name: str) -> str:
        """What DuckDB calls a file in it."""
        return (self.address / name).shown

    def read(self, name: str) -> bytes | None:
        """An object's content, None if there is no such object."""
        with self.told():
            try:
                with self.client().open_input_stream((self.address / name).place) as opened:
                    return opened.read()
            except FileNotFoundError:
                return None

    def stamp(self, name: str) -> tuple[int, int] | None:
        """What changes when an object is written: its time and size; None if there is no such object."""
        with self.told():
            found = self.client().get_file_info((self.address / name).place)
        return (found.mtime_ns or 0, found.size) if found.is_file else None

    def open(self, name: str) -> pa.NativeFile:
        """An object, to be read."""
        with self.told():
            return self.client().open_input_file((self.address / name).place)

    def create(self, name: str) -> pa.NativeFile:
        """A new object, to be written; it is there when it is closed."""
        with self.told():
            return self.client().open_output_stream((self.address / name).place)

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Bytes of each of the objects that is there; several are asked for at once."""
        asked = list(names)
        with self.told():
            found = self.client().get_file_info([(self.address / name).place for name in asked])
        return {name: one.size for name, one in zip(asked, found, strict=True) if one.is_file}

    def write(self, name: str, content: bytes) -> None:
        """Writes an object: who reads it sees the old one or the new one, whole."""
        with self.create(name) as out:
            out.write(content)

    def remove(self, name: str) -> None:
        """Removes an object if it is there."""
        with self.told(), suppress(FileNotFoundError):
            self.client().delete_file((self.address / name).place)

    def names(self, end: str = "") -> list[str]:
        """Names of the objects in it that end so, in order."""
        with self.told():
            there = self.client().get_file_info(fs.FileSelector(self.address.place, allow_not_found=True))
        return sorted(one.base_name for one in there if one.is_file and one.base_name.endswith(end))

    @contextmanager
    def replacing(self, name: str) -> Iterator[pa.NativeFile]:
        """An object that takes another's place when it is whole: it is written under a name of its own first, for what is
        closed is there, also after an error."""
        scratch = f"{SCRATCH}{name}"
        with self.create(scratch) as out:
            yield out
        with self.told():
            self.client().copy_file((self.address / scratch).place, (self.address / name).place)
        self.remove(scratch)

    def look(self) -> None:
        """Looks whether there is such a bucket.

        Raises:
            StoreUnreachable: there is none, or it does not answer or refuses.
        """
        with self.told():
            if self.client().get_file_info(self.address.bucket).type == fs.FileType.NotFound:
                raise OSError("AWS Error NO_SUCH_BUCKET")

    def admit(self, con: duckdb.DuckDBPyConnection) -> None:
        """Lets DuckDB read it: its wheel cannot, so Arrow does that for it."""
        from storage.objects import Objects  # it needs fsspec, which takes its time to be imported

        con.register_filesystem(Objects(self))

    def explained(self, error: BaseException) -> StoreError | None:
        """What an error of an SDK says about the bucket, without the SDK's words."""
        if isinstance(error, StoreError):
            return error
        if words := self.address.refusal(error):
            return StoreUnreachable(words)
        if "S3" in str(error) or "AWS" in str(error):
            return StoreUnreachable(f"{self}: {bucket.answer(error)}")
        return None

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors of the client within are told in words of our own."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise (self.explained(error) or StoreUnreachable(f"{self}: {bucket.answer(error)}")) from None
        except AddressError as error:
            raise StoreError(str(error)) from None


Location: TypeAlias = Folder | BucketFolder


def table(location: Location, version: int | None = None) -> DeltaTable:
    """A fresh handle of the Delta table that lies there, at a version or the newest one."""
    return DeltaTable(location.uri, version=version, storage_options=location.options)
