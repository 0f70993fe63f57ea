"""store.json: the schema version, the tables that annotators declared, and where all tables lie. Always replaced whole.

Of a store whose tables lie in a bucket, a copy of it lies beside them, from which other machines learn of the store. What
two machines know only ever grows, so what they have is put together: one that is overwritten is written again.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.errors import (
    StoreCorrupt,
    StoreElsewhere,
    StoreError,
    StoreNotFound,
    StoreOlder,
    StoreTooNew,
    first_line,
)
from storage.location import BucketFolder, Folder, Location
from storage.tables import SCHEMA_VERSION, TABLES, Column, Table

FILE = "store.json"
STAMPS = {"timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"), "timestamp[us]": pa.timestamp("us")}


@dataclass
class Meta:
    """What store.json holds, and when it was read."""

    path: Path
    schema_version: int = SCHEMA_VERSION
    tables: dict[str, Table] = field(default_factory=dict)
    widened: set[str] = field(default_factory=set)
    """Tables that got columns after their first files were written."""
    stamp: tuple[int, int] = (0, 0)
    tables_at: str = ""
    """s3://bucket/folder of the tables; "" is the store's own folder."""
    copy_stamp: tuple[int, int] | None = None
    """When the copy in the bucket was written, as it was last read, and its size."""

    @classmethod
    def open(cls, folder: Path, *, create: bool, any_version: bool = False, tables: str = "") -> Meta:
        """Reads a store's metadata, or writes that of an empty store."""
        file = folder / FILE
        wanted = str(BucketFolder.parse(tables).address) if tables else ""
        if not file.exists():
            begin(folder, create=create, tables=wanted)
        meta = cls(file)
        meta.refresh()
        if wanted and wanted != meta.tables_at:
            raise StoreElsewhere(
                f"the store in {folder} has its tables in {meta.tables_at or 'that folder'}, and [store] tables names "
                f"{wanted}: name another folder for another store"
            )
        if not any_version:
            meta.check()
        return meta

    def check(self) -> None:
        """Raises StoreTooNew or StoreOlder unless the schema is the one that this program knows."""
        store, found = self.path.parent, self.schema_version
        if found > SCHEMA_VERSION:
            raise StoreTooNew(
                f"{store} has schema version {found}, this millrace knows {SCHEMA_VERSION}: "
                "install a newer millrace"
            )
        if found < SCHEMA_VERSION:
            raise StoreOlder(
                f"{store} has schema version {found}, this millrace needs {SCHEMA_VERSION}: "
                "run `millrace backup`, then `millrace migrate`"
            )

    @property
    def home(self) -> Location:
        """Where the folder `tables` lies."""
        return BucketFolder.parse(self.tables_at) if self.tables_at else Folder(self.path.parent)

    def refresh(self) -> Meta:
        """Reads the file again if it was replaced, and the copy in the bucket if there is one."""
        try:
            stat = self.path.stat()
            if (stamp := (stat.st_mtime_ns, stat.st_ino)) != self.stamp:
                raw = json.loads(self.path.read_text(encoding="utf-8"))
                self.take(raw)
                self.tables_at = raw.get("tables_at", "")
                self.stamp = stamp
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreCorrupt(
                f"{self.path} cannot be read ({first_line(error)}): "
                "restore it from a backup with `millrace restore`"
            ) from None
        if self.tables_at:
            self.meet()
        return self

    def take(self, raw: dict[str, Any]) -> None:
        """Takes over what a store.json says."""
        self.schema_version = int(raw["schema_version"])
        self.tables = {one["name"]: table_from(one) for one in raw.get("tables", [])}
        self.widened = set(raw.get("widened", []))

    def meet(self) -> None:
        """Puts together what this machine and the copy in the bucket know, and writes it where something is missing."""
        if self.join():
            self.keep()

    def join(self) -> bool:
        """The same for the copy; whether this machine has learned something."""
        home = self.home
        stamp = home.stamp(FILE)
        if stamp is not None and stamp == self.copy_stamp:
            return False
        ours, theirs = self.json(), None
        if (content := home.read(FILE)) is not None:
            copy = Meta(self.path)
            try:
                copy.take(json.loads(content))
            except (ValueError, KeyError, TypeError) as error:
                raise StoreCorrupt(f"{home}/{FILE} cannot be read ({first_line(error)})") from None
            theirs = copy.json()
            self.add(copy)
        both = self.json()
        if both != theirs:
            home.write(FILE, text(both).encode())
        self.copy_stamp = stamp if both == theirs else None
        return both != ours

    def add(self, other: Meta) -> None:
        """Takes in what another machine knows: tables and columns only ever come to it."""
        self.schema_version = max(self.schema_version, other.schema_version)
        more = {
            name: table
            for name, table in other.tables.items()
            if name not in self.tables or len(table.columns) > len(self.tables[name].columns)
        }
        self.tables, self.widened = self.tables | more, self.widened | other.widened

    def table(self, name: str) -> Table | None:
        """A declared table, also one that another process has declared since."""
        return self.tables.get(name) or self.refresh().tables.get(name)

    def evolved(self, name: str) -> bool:
        """Whether files of the table may lack columns."""
        return name in self.widened

    def json(self) -> dict[str, Any]:
        """What every machine may know."""
        return {
            "format": "millrace store",
            "schema_version": self.schema_version,
            "tables": [table_json(table) for _, table in sorted(self.tables.items())],
            "widened": sorted(self.widened),
        }

    def save(self) -> None:
        """Replaces the file in one step, and the copy in the bucket."""
        if self.tables_at:
            self.home.write(FILE, text(self.json()).encode())
        self.keep()

    def move(self, home: BucketFolder) -> None:
        """Remembers that the tables lie in a bucket now, and puts the copy beside them."""
        self.tables_at = str(home.address)
        self.save()

    def keep(self) -> None:
        """Replaces this machine's file."""
        at = {"tables_at": self.tables_at} if self.tables_at else {}
        replace(self.path, text(self.json() | at))

    def declare(self, table: Table) -> list[pa.Field]:
        """Remembers a table and returns the columns that it did not have before. The caller holds a lock."""
        if table.name in TABLES:
            raise StoreError(
                f"{table.name} is one of the store's own tables: give the annotator another name"
            )
        for column in table.columns:
            check_type(table.name, column)
        before = self.refresh().tables.get(table.name)
        added: list[Column] = []
        if before is not None:
            if before.key != table.key:
                raise StoreError(
                    f"{table.name} is keyed by {before.key[0]} in this store, not by {table.key[0]}"
                )
            types = {column.name: column.type for column in before.columns}
            for column in table.columns:
                if types.get(column.name, column.type) != column.type:
                    raise StoreError(
                        f"{table.name}.{column.name} is {types[column.name]} in this store, "
                        f"not {column.type}: give the column another name"
                    )
            added = [column for column in table.columns if column.name not in types]
            new = {column.name: column for column in table.columns}
            kept = tuple(new.get(column.name, column) for column in before.columns)
            table = Table(table.name, table.doc, table.key, (*kept, *added))
        self.tables[table.name] = table
        if added:
            self.widened.add(table.name)
        self.save()
        return [pa.field(column.name, column.type) for column in added]


def begin(folder: Path, *, create: bool, tables: str = "") -> None:
    """Makes an empty store in a folder that is empty or not there, or takes up the one whose tables a bucket has."""
    if (folder / "tables").is_dir():
        raise StoreCorrupt(
            f"{folder} holds tables but no {FILE}: restore it from a backup with `millrace restore`"
        )
    absent = f"no store in {tables or folder}: `millrace ingest` makes one; --config names a configuration with another"
    if not create and not tables:
        raise StoreNotFound(absent)
    if folder.is_dir() and any(not one.name.startswith(".") for one in folder.iterdir()):
        raise StoreNotFound(f"{folder} is not a store and not empty: name an empty folder")
    meta = Meta(folder / FILE, tables_at=tables)
    found = None
    if tables:  # first: a bucket that refuses leaves no folder behind
        place = BucketFolder.parse(tables)
        place.look()
        found = place.read(FILE)
    if found is None and not create:
        raise StoreNotFound(absent)
    if tables:
        meta.join()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        meta.keep()
    except OSError as error:
        raise StoreNotFound(f"no store can be made in {folder}: {error.strerror}") from error


def text(raw: dict[str, Any]) -> str:
    return json.dumps(raw, indent=1, ensure_ascii=False)


def replace(file: Path, text: str) -> None:
    """Writes a file so that a reader sees the old one or the new one, whole."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    with scratch.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    scratch.replace(file)


def table_json(table: Table) -> dict[str, Any]:
    """A table as plain JSON."""
    return {
        "name": table.name,
        "doc": table.doc,
        "key": list(table.key),
        "columns": [
            {"name": c.name, "type": type_name(c.type), "doc": c.doc, "unit": c.unit, "hashed": c.hashed}
            for c in table.columns
        ],
    }


def table_from(raw: dict[str, Any]) -> Table:
    """The inverse of `table_json`."""
    columns = (
        Column(c["name"], type_from(c["type"]), c.get("doc", ""), c.get("unit", ""), c.get("hashed", True))
        for c in raw["columns"]
    )
    return Table(raw["name"], raw.get("doc", ""), tuple(raw["key"]), tuple(columns))


def type_name(kind: pa.DataType) -> str:
    """An Arrow type as a word: "float", "list<int32>"."""
    return f"list<{type_name(kind.value_type)}>" if pa.types.is_list(kind) else str(kind)


def type_from(word: str) -> pa.DataType:
    """The inverse of `type_name`."""
    if word.startswith("list<") and word.endswith(">"):
        return pa.list_(type_from(word[5:-1]))
    return STAMPS.get(word) or pa.type_for_alias(word)


def check_type(table: str, column: Column) -> None:
    """Raises StoreError for the types that Delta Lake cannot hold without loss."""
    inner = column.type
    while pa.types.is_list(inner):
        inner = inner.value_type
    if pa.types.is_unsigned_integer(inner) or pa.types.is_float16(inner):
        raise StoreError(f"{table}.{column.name}: {inner} cannot be stored; use int64, int32 or float32")
    try:
        fits = type_from(type_name(column.type)) == column.type
    except (ValueError, KeyError):
        fits = False
    if not fits:
        raise StoreError(
            f"{table}.{column.name}: {column.type} cannot be stored; use a plain type or a list of one"
        )
