"""Pictures in a folder of this machine or of a bucket, with their texts beside them or in one table.

`origin` is the picture's path within the folder. Texts come from the table named by `metadata` (rows name a
file), else from `picture.json` (an object or a list of them) and `picture.txt` beside `picture.jpg`.
A picture without a text is one row whose text is null; several rows of one picture differ in their position.
Names that begin with a dot are passed over. A link is followed to a file inside the folder, never out of it.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from pipeline import records
from pipeline.errors import SourceError
from pipeline.files import File, S3File, at, each
from pipeline.rows import FIELDS, RowSource, Stated, batches, places, unseen
from pipeline.step import Shard, digest
from storage.media import EXTENSIONS

FILE = "file"
"""The field that finds a table's row its picture."""


@dataclass(slots=True)
class _Item:
    """A picture, or a row that names none: what the listing knows of it."""

    origin: str
    version: str
    path: str = ""
    sidecars: tuple[str, ...] = ()
    rows: bytes = b""
    """The table's rows for it as JSON, one a line: field to value, or (`named`) the table's own lines."""
    named: bool = False
    error: str = ""
    detail: str = ""


class Folder(RowSource):
    """Pictures below a folder, with captions in .txt, .json or one CSV, TSV, JSONL or Parquet table."""

    unfingerprinted: ClassVar[frozenset[str]] = frozenset({"path", "items", "shard_rows"})

    path: str = Field(description='The folder, on this machine or as "s3://bucket/folder".')
    metadata: str | None = Field(
        default=None,
        description='Table in the folder whose rows name a file; found if there is just one; "" for none.',
    )
    items: str | None = Field(
        default=None, description='Where the rows lie in a table that is a JSON document ("records").'
    )
    shard_rows: int = Field(default=1024, gt=0, description="Pictures in a part.")

    def check(self) -> None:
        root = at(self.path)
        if isinstance(root, Path) and not root.is_dir():
            raise SourceError(f'path = "{self.path}": no such folder')

    def state(self) -> str:
        """A digest of the names, sizes and times of all files; no table is read for it."""
        items, tables, sidecars = self._files(at(self.path))
        listed = sorted((item.origin, item.version) for item in items)
        return digest([listed, sorted(tables.items()), sorted(sidecars.items())])

    def shards(self, known: pa.Table) -> Iterable[Shard]:
        """Lists what is new or changed against `known`, in the order of the paths.

        Raises:
            SourceError: no such folder, or a table that cannot be read.
        """
        items = self._items()
        new = unseen([item.origin for item in items], [item.version for item in items], known)
        items = list(itertools.compress(items, new))
        shards = -(-len(items) // self.shard_rows)
        if shards > 1:  # equal ones, and as many for each of two workers: none waits long
            shards += shards % 2
        size = -(-len(items) // max(1, shards))
        for start in range(0, len(items), size or 1):
            chunk = items[start : start + size]
            rows = sum(1 + item.rows.count(b"\n") for item in chunk)
            payload = [[getattr(item, name) for name in _Item.__slots__] for item in chunk]
            yield Shard(digest([[item.origin, item.version] for item in chunk]), {"items": payload}, rows)

    def read(self, shard: Shard) -> Iterator[pa.RecordBatch]:
        root = at(self.path)
        items = (_Item(*item) for item in shard.payload["items"])
        found = each(lambda item: list(self._read(item, root)), items, root)
        return batches(row for rows in found for row in rows)

    def _items(self) -> list[_Item]:
        root = at(self.path)
        items, tables, sidecars = self._files(root)
        table = self._table(list(tables))
        named = table is not None and self._named(table)
        texts, bad = self._texts(root / table, named) if table else (dict[str, bytes](), [])
        settings = _raw(self.fingerprint())
        for item in items:
            item.rows, item.named = texts.pop(item.origin, b""), named
            if not item.rows and not item.error:
                stem = item.path.rpartition(".")[0]
                item.sidecars = tuple(stem + end for end in (".json", ".txt") if stem + end in sidecars)
                item.version += "".join(f"+{sidecars[path]}" for path in item.sidecars)
            item.version += "-" + hashlib.blake2b(settings + item.rows, digest_size=8).hexdigest()
        for origin, rows in texts.items():
            version = "missing-" + hashlib.blake2b(settings + rows, digest_size=8).hexdigest()
            detail = f"named in {table}, not in the folder"
            items.append(_Item(origin, version, rows=rows, named=named, error="missing_file", detail=detail))
        items.extend(bad)
        items.sort(key=lambda item: item.origin)
        return items

    def _files(self, root: File) -> tuple[list[_Item], dict[str, str], dict[str, str]]:
        """Pictures, tables at the top, and .txt and .json files, the latter two with their versions."""
        if isinstance(root, S3File):
            return _listing(root)
        self.check()
        return _walk(root)

    def _table(self, tables: list[str]) -> str | None:
        if self.metadata is not None:
            return self.metadata or None
        if len(tables) > 1:
            names = ", ".join(sorted(tables))
            raise SourceError(
                f'{names}: which holds the captions? Say metadata = "…", or metadata = "" for none'
            )
        return tables[0] if tables else None

    def _named(self, table: str) -> bool:
        """Whether the table's lines are kept as they are: to encode those of a large table anew takes longer than to list its
        pictures."""
        plain = not any("." in column for column in self.columns.values())
        return plain and self.items is None and table.lower().endswith((".jsonl", ".ndjson"))

    def _texts(self, path: File, named: bool) -> tuple[dict[str, bytes], list[_Item]]:
        """Rows of the table by file, as JSON lines, and an item for each row that cannot be used."""
        if named:
            found, wrong = self.named(path, FILE, _origin)
        else:
            found, wrong = dict[str, list[bytes]](), list[Stated]()
            for row in self.stated(path, FILE, self.items):
                if row.wrong is not None:
                    wrong.append(row)
                else:
                    found.setdefault(_origin(row.key), []).append(_raw(row.line))
        bad = [
            _Item(
                f"{path.name}#{row.number}", digest(row.wrong)[:16], error="bad_row", detail=row.wrong or ""
            )
            for row in wrong
        ]
        return {origin: b"\n".join(found.pop(origin)) for origin in list(found)}, bad

    def _read(self, item: _Item, root: File) -> Iterator[dict[str, Any]]:
        base: dict[str, Any] = {"origin": item.origin, "version": item.version}
        rows = self.unfold(item.rows.decode("utf-8", "surrogateescape"), FILE if item.named else "")
        if not item.error:
            try:
                base["image"] = _bytes(root / item.path, self.max_bytes)
                if not rows:
                    rows = self._beside(root, item.sidecars)
            except _Unreadable as error:
                item.error, item.detail = error.reason, error.detail
        if item.error:
            base |= {"image": None, "error": item.error, "detail": item.detail}
        if not rows:
            rows = [{**self.rows({}, {})[0]}]
        for place, row in zip(places(rows), rows, strict=True):
            yield {**row, **base, "position": place}

    def _beside(self, root: File, sidecars: Iterable[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for name in sidecars:
            raw = _bytes(root / name, self.max_bytes)
            if name.endswith(".txt"):
                rows = rows or self.rows({}, {})
                rows = [{**row, "text": row["text"] if row["text"] is not None else raw} for row in rows]
                continue
            value = records.parse_json(raw.removeprefix(b"\xef\xbb\xbf"))
            for entry in value if isinstance(value, list) else [value]:
                entry = {"text": entry} if isinstance(entry, str) else entry
                if not isinstance(entry, dict):
                    raise _Unreadable("bad_row", f"{Path(name).name}: not a JSON object")
                rows += self.rows(entry, self.recognise(entry, FIELDS))
        return rows


class _Unreadable(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def _origin(name: str) -> str:
    """A picture's path within the folder, of the name that a table has for it."""
    return records.valid(name.replace("\\", "/").removeprefix("./"))


def _raw(text: str) -> bytes:
    """A text with the bytes of it that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def _bytes(path: File, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except FileNotFoundError:
        raise _Unreadable("missing_file", "gone since it was listed") from None
    except OSError as error:
        raise _Unreadable("unreadable", error.strerror or type(error).__name__) from None
    if len(raw) > limit:
        raise _Unreadable("too_large", f"over {limit} bytes")
    return raw


def _walk(root: Path) -> tuple[list[_Item], dict[str, str], dict[str, str]]:
    """The files of a folder on this machine; a version is the size and the time of the last writing."""
    items: list[_Item] = []
    tables: dict[str, str] = {}
    sidecars: dict[str, str] = {}
    home = os.path.realpath(root)
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as entries:
                listed = list(entries)
        except OSError as error:
            items.append(_Item(records.valid(folder), "-", error="unreadable", detail=error.strerror or ""))
            continue
        for entry in listed:
            if entry.name.startswith("."):
                continue
            path = folder + entry.name
            if entry.is_dir(follow_symlinks=False):
                pending.append(path + "/")
                continue
            end = entry.name.rpartition(".")[2].lower()
            if end in ("txt", "json"):
                sidecars[path] = _version(entry)
            elif end in records.KINDS:
                if not folder:
                    tables[entry.name] = _version(entry)
            elif end in EXTENSIONS or (entry.is_symlink() and entry.is_dir()):
                items.append(_listed(entry, path, home))
    return items, tables, sidecars


def _listing(root: S3File) -> tuple[list[_Item], dict[str, str], dict[str, str]]:
    """The same of a folder in a bucket."""
    items: list[_Item] = []
    tables: dict[str, str] = {}
    sidecars: dict[str, str] = {}
    start = len((root / "").key)
    found = False
    for file in root.below():
        found = True
        path, version = file.key[start:], f"{file.size}-{file.mtime}"
        if path.startswith(".") or "/." in path:
            continue
        end = path.rpartition("/")[2].rpartition(".")[2].lower()
        if end in ("txt", "json"):
            sidecars[path] = version
        elif end in records.KINDS and "/" not in path:
            tables[path] = version
        elif end in EXTENSIONS:
            items.append(_Item(records.valid(path), version, path))
    if not found:
        raise SourceError(f'path = "{root.shown}": no such folder, or an empty one')
    return items, tables, sidecars


def _version(entry: os.DirEntry[str]) -> str:
    try:
        found = entry.stat()
    except OSError:
        return "gone"
    return f"{found.st_size}-{found.st_mtime_ns}"


def _listed(entry: os.DirEntry[str], path: str, home: str) -> _Item:
    origin = records.valid(path)
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if os.path.commonpath([home, target]) != home or entry.is_dir():
            where = "a link out of the folder, or to a folder"
            return _Item(origin, "link", error="outside_folder", detail=where)
    try:
        found = entry.stat()
    except OSError as error:
        return _Item(origin, "gone", error="missing_file", detail=error.strerror or "")
    if not stat.S_ISREG(found.st_mode):
        return _Item(origin, "special", error="unreadable", detail="not a regular file")
    return _Item(origin, f"{found.st_size}-{found.st_mtime_ns}", path)
