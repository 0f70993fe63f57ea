"""WebDataset tar shards: members that share a name up to its first dot are one sample.

`origin` is the tar's name and that key. Pictures (.jpg, .png, .webp …) meet the texts in .txt, .json (an
object or a list of them) and .cls of the same key. Nothing is unpacked to disk: the paths are only names.
Of a tar that breaks off, what was read until then is kept, and one row says `truncated_archive`.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import pyarrow as pa
from pydantic import Field

from pipeline import files, records
from pipeline.errors import BucketError, SourceError
from pipeline.files import File
from pipeline.rows import FIELDS, Positions, RowSource, batches, places
from pipeline.step import Shard, digest
from storage.media import EXTENSIONS

END: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]  # the two zero blocks
TEXTS = frozenset({"txt", "text", "caption"})


@dataclass
class _Group:
    """The members of one key."""

    key: str
    images: list[bytes] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)
    error: str | None = None
    detail: str | None = None


class WebDataset(RowSource):
    """Samples in tar files, plain or compressed."""

    unfingerprinted: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str = Field(description='A tar file, or a pattern ("shards/*.tar", "s3://bucket/shards/*.tar").')

    def check(self) -> None:
        files.look_for(self.path)

    def shards(self, known: pa.Table) -> Iterator[Shard]:
        """One shard for each tar, known again by its size, beginning and end.

        Raises:
            SourceError: no such file.
        """
        named = records.relative(records.files(self.path))
        known_by = files.each(_identity, named.values(), next(iter(named.values())))
        for (name, path), identity in zip(named.items(), known_by, strict=True):
            yield Shard(digest([name, identity]), {"name": name, "path": str(path), "identity": identity})

    def read(self, shard: Shard) -> Iterator[pa.RecordBatch]:
        return batches(self._rows(shard))

    def _rows(self, shard: Shard) -> Iterator[dict[str, Any]]:
        name, positions = shard.payload["name"], Positions()
        for group in self._groups(files.at(shard.payload["path"])):
            origin = f"{name}#{records.valid(group.key)}" if group.key else name
            rows = self._of(group)
            first = positions.take(origin, rows=1 + max(places(rows)))
            for place, row in zip(places(rows), rows, strict=True):
                row |= {"origin": origin, "position": first + place, "version": shard.payload["identity"]}
                yield row

    def _of(self, group: _Group) -> list[dict[str, Any]]:
        """The rows of a group: one for each picture and text."""
        stated = [] if group.error else self._stated(group)
        if group.error:
            return [{"error": group.error, "detail": group.detail}]
        plain = next((group.texts[end] for end in group.texts if end in TEXTS), None)
        stated = stated or self.rows({}, {})
        for row in stated:
            row["text"] = row["text"] if row["text"] is not None else plain
            if "cls" in group.texts and row.get("label") is None:
                row["label"] = records.valid(group.texts["cls"].decode("utf-8", "surrogateescape").strip())
        images: list[bytes | None] = [*group.images] or [None]
        return [{**row, "image": image} for image in images for row in stated]

    def _stated(self, group: _Group) -> list[dict[str, Any]]:
        if "json" not in group.texts:
            return []
        value = records.parse_json(group.texts["json"])
        rows: list[dict[str, Any]] = []
        for entry in value if isinstance(value, list) else [value]:
            entry = {"text": entry} if isinstance(entry, str) else entry
            if not isinstance(entry, dict):
                group.error, group.detail = "bad_row", "its .json holds no object"
                return []
            rows += self.rows(entry, self.recognise(entry, FIELDS))
        return rows

    def _groups(self, path: File) -> Iterator[_Group]:
        """Consecutive members of one key; an error of the archive is a group without a key."""
        group = _Group("")
        try:
            with path.open("rb") as file, _open(file) as tar:
                for member in tar:
                    tar.members = []  # type: ignore[attr-defined]  # or every header stays in memory
                    key, end = _split(member.name)
                    if not key or not end or not member.isreg():
                        continue
                    if key != group.key:
                        if group.key:
                            yield group
                        group = _Group(key)
                    self._take(group, end, tar, member)
                if not isinstance(tar.ended, END):
                    raise tarfile.ReadError("no end mark")
            if group.key:
                yield group
        except _Broken as broken:
            group.error, group.detail = "truncated_archive", broken.detail
            yield group
            yield _Group("", error="truncated_archive", detail=broken.detail)
        except BucketError:
            raise
        except OSError as error:
            if group.key:
                yield group
            yield _Group("", error="unreadable", detail=error.strerror or type(error).__name__)
        except Exception as error:  # a tar of garbage raises many things; each is a verdict on this file only
            if group.key:
                yield group
            reason = "truncated_archive" if group.key else "not_an_archive"
            yield _Group("", error=reason, detail=f"{type(error).__name__}: {str(error)[:200]}")

    def _take(self, group: _Group, end: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        kind = end.rpartition(".")[2]
        if kind not in EXTENSIONS and kind not in TEXTS and kind not in ("json", "cls"):
            return
        if member.size > self.max_bytes:
            group.error, group.detail = "too_large", f".{kind}: {member.size} bytes, over {self.max_bytes}"
            return
        try:
            file = tar.extractfile(member)
            raw = file.read() if file is not None else b""
        except BucketError:
            raise
        except Exception as error:
            raise _Broken(f"{type(error).__name__}: {str(error)[:200]}") from error
        if len(raw) != member.size:
            raise _Broken("unexpected end of data")
        if kind in EXTENSIONS:
            group.images.append(raw)
        else:
            group.texts.setdefault(kind, raw)


def _identity(path: File) -> str:
    try:
        return records.identity(path)
    except BucketError:
        raise
    except SourceError as error:
        return str(error)


def _split(name: str) -> tuple[str, str]:
    """A member's name as key and ending: "a/b.left.jpg" is ("a/b", "left.jpg")."""
    folder, slash, base = name.rpartition("/")
    stem, _, end = base.partition(".")
    return (folder + slash + stem if stem else ""), end.lower()


class _Broken(Exception):
    """The archive ends within a member."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class _Header(tarfile.TarInfo):
    """Notes why the last header could not be read: tarfile takes garbage for the end without a word."""

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except Exception as error:
            tarfile.ended = error
            raise


class _Tar(tarfile.TarFile):
    ended: Exception | None = None


def _open(file: Any) -> _Tar:
    return _Tar.open(fileobj=file, mode="r|*", bufsize=1 << 20, tarinfo=_Header, errorlevel=2)
