"""Pictures in a folder, with their texts beside them or in one table.

`origin` is the picture's path within the folder. Texts come from the table named by `metadata` (rows name a
file), else from `picture.json` (an object or a list of them) and `picture.txt` beside `picture.jpg`.
A picture without a text is one row whose text is null; several rows of one picture differ in their position.
Names that begin with a dot are passed over. A link is followed to a file inside the folder, never out of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline import records
from pipeline.rows import TEXTUAL, RowSource, SourceError, batches
from pipeline.step import Shard, digest
from storage.media import EXTENSIONS

FIELDS = ("file", "text", *TEXTUAL, "position")
"""What a row of the table or a .json may state."""


@dataclass(slots=True)
class _Item:
    """A picture, or a row that names none: what the listing knows of it."""

    origin: str
    version: str
    path: str = ""
    sidecars: tuple[str, ...] = ()
    rows: str = ""
    """The table's rows for it as JSON, one a line: field to value."""
    error: str = ""
    detail: str = ""


class Folder(RowSource):
    """Pictures below a folder, with captions in .txt, .json or one CSV, TSV, JSONL or Parquet table."""

    unfingerprinted: ClassVar[frozenset[str]] = frozenset({"path", "shard_rows"})

    path: str = Field(description="The folder.")
    metadata: str | None = Field(
        None,
        description='Table in the folder whose rows name a file; found if there is just one; "" for none.',
    )
    shard_rows: int = Field(1024, gt=0, description="Pictures in a part.")

    def shards(self, known: pa.Table) -> Iterable[Shard]:
        """Lists what is new or changed against `known`, in the order of the paths.

        Raises:
            SourceError: no such folder, or a table that cannot be read.
        """
        items = self._new(self._items(), known)
        for start in range(0, len(items), self.shard_rows):
            chunk = items[start : start + self.shard_rows]
            rows = sum(1 + item.rows.count("\n") for item in chunk)
            payload = [[getattr(item, name) for name in _Item.__slots__] for item in chunk]
            yield Shard(digest([[item.origin, item.version] for item in chunk]), {"items": payload}, rows)

    def read(self, shard: Shard) -> Iterator[pa.RecordBatch]:
        return batches(row for item in shard.payload["items"] for row in self._read(_Item(*item)))

    def _items(self) -> list[_Item]:
        root = Path(self.path)
        if not root.is_dir():
            raise SourceError(f'path = "{self.path}": no such folder')
        items, tables, sidecars = _walk(root)
        table = self._table(tables)
        texts, bad = self._texts(root / table) if table else ({}, [])
        settings = self.fingerprint()
        for item in items:
            item.rows = texts.pop(item.origin, "")
            if not item.rows and not item.error:
                stem = item.path.rpartition(".")[0]
                item.sidecars = tuple(stem + end for end in (".json", ".txt") if stem + end in sidecars)
                item.version += "".join(f"+{sidecars[path]}" for path in item.sidecars)
            item.version += "-" + hashlib.blake2b((settings + item.rows).encode(), digest_size=8).hexdigest()
        for origin, rows in texts.items():
            version = "missing-" + hashlib.blake2b((settings + rows).encode(), digest_size=8).hexdigest()
            detail = f"named in {table}, not in the folder"
            items.append(_Item(origin, version, rows=rows, error="missing_file", detail=detail))
        items.extend(bad)
        items.sort(key=lambda item: item.origin)
        return items

    def _table(self, tables: list[str]) -> str | None:
        if self.metadata is not None:
            return self.metadata or None
        if len(tables) > 1:
            names = ", ".join(sorted(tables))
            raise SourceError(
                f'{names}: which holds the captions? Say metadata = "…", or metadata = "" for none'
            )
        return tables[0] if tables else None

    def _texts(self, path: Path) -> tuple[dict[str, str], list[_Item]]:
        """Rows of the table by file, as JSON lines, and an item for each row that cannot be used."""
        texts: dict[str, str] = {}
        bad: list[_Item] = []
        kinds: dict[tuple[str, ...], dict[str, str]] = {}
        for record in records.read(path):
            names = tuple(record.values)
            if names not in kinds and record.wrong is None:
                kinds[names] = self.recognise(names, FIELDS)
            columns = kinds.get(names, {})
            file = record.values.get(columns.get("file", ""))
            if record.wrong is not None or not isinstance(file, str) or not file:
                wrong = record.wrong or "names no file"
                origin = f"{path.name}#{record.number}"
                bad.append(_Item(origin, digest(wrong)[:16], error="bad_row", detail=wrong))
                continue
            origin = _origin(file.replace("\\", "/").removeprefix("./"))
            line = _LINE({field: record.values[name] for field, name in columns.items() if field != "file"})
            texts[origin] = f"{texts[origin]}\n{line}" if origin in texts else line
        self.check_columns(dict.fromkeys(name for names in kinds for name in names), path.name, "file")
        return texts, bad

    def _new(self, items: list[_Item], known: pa.Table) -> list[_Item]:
        if not known.num_rows or not items:
            return items
        ours = pa.array([f"{item.origin}\0{item.version}" for item in items])
        theirs = pc.binary_join_element_wise(
            known["origin"].cast(pa.string()), known["version"].cast(pa.string()), "\0"
        )
        fresh = pc.invert(pc.is_in(ours, value_set=theirs)).to_pylist()
        return [item for item, new in zip(items, fresh, strict=True) if new]

    def _read(self, item: _Item) -> Iterator[dict[str, Any]]:
        base: dict[str, Any] = {"origin": item.origin, "version": item.version}
        root = Path(self.path)
        stated = [json.loads(line) for line in item.rows.splitlines()]
        rows = [row for values in stated for row in self.rows(values, {field: field for field in values})]
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
        places = [row.get("position") for row in rows]
        if None in places or len(set(places)) < len(places):
            places = list(range(len(rows)))
        for place, row in zip(places, rows, strict=True):
            yield {**row, **base, "position": place}

    def _beside(self, root: Path, sidecars: Iterable[str]) -> list[dict[str, Any]]:
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
                rows += self.rows(entry, self.recognise(entry, FIELDS[1:]))
        return rows


class _Unreadable(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def _bytes(path: Path, limit: int) -> bytes:
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


def _plain(value: Any) -> str:
    """What JSON cannot hold, as text: bytes come back through their surrogates."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


_LINE = json.JSONEncoder(default=_plain).encode


def _origin(path: str) -> str:
    """The path as valid text: bytes that are not UTF-8 are spelled out."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return path


def _walk(root: Path) -> tuple[list[_Item], list[str], dict[str, str]]:
    """Pictures, tables at the top, and .txt and .json files with their versions."""
    items: list[_Item] = []
    tables: list[str] = []
    sidecars: dict[str, str] = {}
    home = os.path.realpath(root)
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as entries:
                listed = list(entries)
        except OSError as error:
            items.append(_Item(_origin(folder), "-", error="unreadable", detail=error.strerror or ""))
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
                    tables.append(entry.name)
            elif end in EXTENSIONS or (entry.is_symlink() and entry.is_dir()):
                items.append(_listed(entry, path, home))
    return items, tables, sidecars


def _version(entry: os.DirEntry[str]) -> str:
    try:
        found = entry.stat()
    except OSError:
        return "gone"
    return f"{found.st_size}-{found.st_mtime_ns}"


def _listed(entry: os.DirEntry[str], path: str, home: str) -> _Item:
    origin = _origin(path)
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
