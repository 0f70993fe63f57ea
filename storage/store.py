"""A store: a folder of Delta tables, one commit at a time, readable at any moment.

<store>/store.json            schema version, annotators' tables, and where the tables lie
<store>/tables/<name>/        a Delta table: Parquet and `_delta_log`; or in a bucket, with a copy of store.json beside them
<store>/staging/<part>/       work that is complete but not committed yet (storage.parts)
<store>/checkpoints, tokenizers, filtering, reports
<store>/cache                 derived: corpora as arrays, views of pictures, answers (storage.kept), digests of rows
<store>/catalog.duckdb        derived, may be deleted at any time
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa
from deltalake import Field as DeltaField
from deltalake.transaction import AddAction, RemoveAction

from storage import commits, location, removal, views
from storage.errors import PartConflict, StoreError, StoreNotFound, translated
from storage.location import BucketFolder, Location
from storage.lock import FileLock, lock
from storage.log import Log, newest, shared
from storage.meta import Meta
from storage.rows import conformed, write_files
from storage.tables import TABLES, Table

FOLDERS = ("checkpoints", "tokenizers", "filtering", "judges", "staging", "reports")

MEMORY_LIMIT = "2GB"
"""What a DuckDB over the store may take before it spills."""

Rows: TypeAlias = pa.Table | pa.RecordBatchReader


class Store:
    """A folder of tables. Threads and processes may share it: commits take a lock for each table."""

    def __init__(self, path: Path, meta: Meta, memory_limit: str = MEMORY_LIMIT) -> None:
        self.path = path
        self.home = meta.home
        self.memory_limit = memory_limit
        self._meta = meta
        self._guard = threading.RLock()
        self._logs: dict[str, Log] = {}
        self._idle: list[duckdb.DuckDBPyConnection] = []

    @classmethod
    def open(
        cls, path: str | Path, *, create: bool = True, memory_limit: str = MEMORY_LIMIT, tables: str = ""
    ) -> Store:
        """Opens the store in a folder, and makes an empty one there when `create`.

        Args:
            tables: s3://bucket/folder, where the tables of a new store are to lie; the folder remembers it. A store that
                another machine has made there is taken up.

        Raises:
            StoreNotFound: no store there, and not asked to make one, or other files are in the way.
            StoreElsewhere: the store is there, but has its tables in another place.
            StoreUnreachable: the bucket does not answer, or refuses.
            StoreTooNew: a newer schema made it.
            StoreOlder: an older schema made it; `millrace migrate` helps.
            StoreCorrupt: its metadata file cannot be read.
        """
        if "://" in str(path):
            raise StoreNotFound(
                f"{path}: a store is a folder of this machine; its tables may lie in a bucket: [store] tables"
            )
        folder = Path(path).expanduser().absolute()
        if "%" in str(folder):  # delta-rs takes %20 in a path for a space
            raise StoreNotFound(f"{folder} has a percent sign in its path: name a folder without one")
        return cls(folder, Meta.open(folder, create=create, tables=tables), memory_limit)

    # Folders, locks, declared tables

    def folder(self, kind: str) -> Path:
        """A folder inside the store: checkpoints, tokenizers, filtering, judges, staging or reports."""
        if kind not in FOLDERS:
            raise StoreError(f"no folder {kind!r} in a store: one of {', '.join(FOLDERS)}")
        folder = self.path / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def lock(self, name: str = "store") -> FileLock:
        """One holder at a time, over threads and processes; let go by the system when a process dies."""
        return lock(self.path / ".locks" / name)

    def declare(self, table: Table) -> None:
        """Remembers an annotator's table; new columns are added to the one that is there.

        Raises:
            StoreError: a column has a type that cannot be stored, or another one than before.
        """
        if self._meta.tables.get(table.name) == table:
            return
        with self.lock("meta"):
            added = self._meta.declare(table)
        if added and self.version(table.name) >= 0:
            self.widen(self.table(table.name), added)

    def widen(self, table: Table, added: Sequence[pa.Field]) -> None:
        """Adds columns to a table that is there; its rows have null in them."""
        with self.lock(f"table-{table.name}"), translated(table.name, self.home.explained):
            delta = commits.handle(self._log(table.name), table, fresh=True)
            delta.alter.add_columns([DeltaField.from_arrow(field) for field in added])

    def columns(self, table: str) -> list[str]:
        """The columns that a table on disk has."""
        with translated(table, self.home.explained):
            return [field.name for field in location.table(self.place(table)).schema().fields]

    def table(self, name: str) -> Table:
        """The table of that name, core or declared.

        Raises:
            StoreError: no such table.
        """
        found = TABLES.get(name) or self._meta.table(name)
        if found is None:
            known = ", ".join([*TABLES, *self._meta.tables])
            raise StoreError(f"no table {name!r} in {self.path}: there are {known}")
        return found

    def metadata(self) -> dict[str, Any]:
        """What store.json says, but for where the tables lie."""
        return self._meta.refresh().json()

    def declared(self) -> list[Table]:
        """The annotators' tables, by name."""
        return sorted(self._meta.refresh().tables.values(), key=lambda table: table.name)

    def tables(self) -> list[str]:
        """Names of the tables that have been written to."""
        names = [*TABLES, *(table.name for table in self.declared())]
        return [name for name in names if self.version(name) >= 0]

    # Versions, parts and files

    def version(self, table: str) -> int:
        """Newest version of a table, -1 when it does not exist yet."""
        with self._guard:
            return self._log(table).refresh()

    def versions(self) -> dict[str, int]:
        """Newest version of each table.

        `samples` is asked first: it is committed last, so what it holds is complete in the others.
        """
        names = sorted(
            [*TABLES, *(table.name for table in self.declared())], key=lambda name: name != "samples"
        )
        found = {names[0]: self.version(names[0])}
        with self._guard:
            logs = [self._log(name) for name in names[1:]]
        found |= zip(names[1:], newest(logs), strict=True)
        return {name: version for name, version in found.items() if version >= 0}

    def has(self, table: str, part: str) -> bool:
        """Whether a part was committed to a table."""
        with self._guard:
            log = self._log(table)
            return part in log.parts or (log.refresh() >= 0 and part in log.parts)

    def missing(self, table: str, parts: Sequence[str]) -> list[str]:
        """The parts, in order, that a table does not have."""
        with self._guard:
            log = self._log(table)
            log.refresh()
            return [part for part in parts if part not in log.parts]

    def files(self, table: str, version: int | None = None) -> list[str]:
        """Absolute paths of the Parquet files that make up a version of a table.

        Raises:
            StoreCorrupt: the log cannot be read, or no longer holds that version.
        """
        with self._guard:
            return self._log(table).files(version)

    def named(self, table: str) -> set[str]:
        """Names of all data files that commits of a table have ever added."""
        with self._guard:
            return self._log(table).named()

    def place(self, table: str) -> Location:
        """Where a table lies."""
        return self.home / "tables" / table

    def sizes(self, table: str, files: Sequence[str]) -> dict[str, int]:
        """Bytes of each of a table's files."""
        names = {PurePosixPath(file).name: file for file in files}
        return {names[name]: size for name, size in self.place(table).sizes(names).items()}

    def _log(self, name: str) -> Log:
        if name not in self._logs:
            place = self.place(name)
            self._logs[name] = shared(self.path, place) if self.home.remote else Log(place)
        return self._logs[name]

    # Writing

    def append(self, table: str | Table, rows: Rows, *, parts: Sequence[str]) -> bool:
        """Adds rows in one commit that registers `parts`; writes nothing and returns False if they are there.

        Missing columns become null (`part`, when there is one part, that part), types are cast.

        Raises:
            PartConflict: only some of the parts are there.
            StoreFull: no room; nothing was added.
        """
        if isinstance(table, Table):
            if table.name not in TABLES:
                self.declare(table)
            table = table.name
        form = self.table(table)
        batches = rows.to_batches() if isinstance(rows, pa.Table) else rows
        return self.write(form, conformed(batches, form, parts[0] if len(parts) == 1 else None), parts=parts)

    def write(
        self,
        table: Table,
        batches: Iterable[pa.RecordBatch],
        *,
        parts: Sequence[str],
        at: int | None = None,
    ) -> bool:
        """One commit of batches that are in the table's schema; a few of them are in memory at a time.

        Args:
            at: the version that `seen` gave, if the batches rest on what was there.
        """
        with self.lock(f"table-{table.name}"):
            missing = self.missing(table.name, parts)
            if parts and not missing:
                return False
            if len(missing) != len(parts):
                raise PartConflict(
                    f"{table.name}: {len(parts) - len(missing)} of {len(parts)} parts are committed already; "
                    "commit the missing ones alone"
                )
            commits.make(self._log(table.name), table)
            added = write_files(self.place(table.name), table, batches)
            return self.commit(table, added, parts=parts, at=at)

    def seen(self, table: str) -> int | None:
        """The version that a commit has to follow if it rests on what is there now; None where a lock keeps others off."""
        return self.version(table) if self.home.remote else None

    def commit(
        self,
        table: Table,
        added: Sequence[AddAction],
        removed: Sequence[RemoveAction] = (),
        parts: Sequence[str] = (),
        at: int | None = None,
    ) -> bool:
        """Names files in the log, or no longer, and registers parts; False if another machine has registered them. The
        caller holds the table's lock."""
        return commits.commit(self._log(table.name), table, added, removed, parts, at)

    def delete(
        self,
        table: str,
        ids: Sequence[str] | pa.Array,
        where: Mapping[str, str] | None = None,
        at: int | None = None,
    ) -> int:
        """Removes the rows whose first key column is among `ids` (and whose columns equal `where`).

        Returns how many there were; when there are none, nothing is written.

        Raises:
            TableMoved: `at` is given, and is not the newest version.
        """
        form = self.table(table)
        wanted = ids if isinstance(ids, (pa.Array, pa.ChunkedArray)) else pa.array(ids, pa.string())
        if not len(wanted):
            return 0
        key = views.name(form.key[0])
        conditions = [f"{key} IN (SELECT id FROM doomed)", *equal(where or {})]
        if at is not None:
            return removal.remove(self, form, conditions, wanted, at)
        return commits.until_it_holds(lambda: removal.remove(self, form, conditions, wanted))

    def clear(self, table: str, where: Mapping[str, str]) -> int:
        """Removes the rows whose columns equal `where` (all rows if it is empty), and returns how many."""
        form, conditions, nothing = self.table(table), ["true", *equal(where)], pa.array([], pa.string())
        return commits.until_it_holds(lambda: removal.remove(self, form, conditions, nothing))

    def present(self, table: str, ids: Sequence[str]) -> list[str]:
        """Those of the ids that a table holds in its first key column."""
        if not ids or not (files := self.files(table)):
            return []
        key = self.table(table).key[0]
        with self.cursor() as con:
            con.register("wanted", pa.table({key: pa.array(ids, pa.string())}))
            query = (
                f"SELECT DISTINCT {key} FROM {views.scan(files)} SEMI JOIN wanted USING ({key}) ORDER BY 1"
            )
            return [row[0] for row in con.sql(query).fetchall()]

    # Reading

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        *,
        where: str | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of a table, in no promised order; none, with the right columns, when it does not exist."""
        form = self.table(table)
        names = list(columns) if columns is not None else [column.name for column in form.columns]
        schema = pa.schema([form.schema.field(name).remove_metadata() for name in names])
        if not (files := self.files(table, version)):
            return schema.empty_table()
        listed = ", ".join(views.name(name) for name in names)
        query = f"SELECT {listed} FROM ({self.select(table, files)})" + (f" WHERE {where}" if where else "")
        with self.cursor() as con, translated(table):
            return con.sql(query).to_arrow_table().cast(schema)

    def select(self, table: str, files: Sequence[str]) -> str:
        """The SELECT of a table's columns from some of its files."""
        return views.rows(self.table(table), files, self.evolved(table))

    def evolved(self, table: str) -> bool:
        """Whether some of a table's files may lack columns."""
        return self._meta.evolved(table)

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A session of an in-memory DuckDB without tables, which spills inside the store.

        DuckDB takes 15 ms to start, and a commit asks a dozen times: one that is idle is taken again.
        """
        try:
            database = self._idle.pop()
        except IndexError:
            database = views.connection(self.path / ".tmp", self.memory_limit, 2)
            self.home.admit(database)
        try:
            with views.session(database.cursor()) as con:
                yield con
        except BaseException:
            database.close()  # what went wrong may have left it unusable
            raise
        self._idle.append(database)

    def look_anew(self) -> None:
        """Gives up all that is held of data files: a takedown has written some anew under their names."""
        while self._idle:
            self._idle.pop().close()
        for log in self._logs.values():
            log.look_anew()
        if isinstance(self.home, BucketFolder):
            from storage.objects import look_anew

            look_anew(self.home)

    @contextmanager
    def over(self, *tables: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A session that sees these tables alone, as they are now: a tenth of what `connect` costs, for what is asked
        part by part."""
        with self.cursor() as con, translated("store"):
            for name in tables:
                chosen = self.select(name, self.files(name))
                con.execute(f"CREATE TEMP VIEW {views.name(name)} AS {chosen}")
            yield con

    def connect(
        self,
        versions: Mapping[str, int] | None = None,
        *,
        memory_limit: str = "",
        threads: int = 2,
        overview: bool = False,
    ) -> duckdb.DuckDBPyConnection:
        """An in-memory DuckDB with a view for each table at pinned versions (the newest if none are given).
        `memory_limit`: the store's own if empty.

        With `signals`, `verdicts`, `funnel`, `funnel_check` and the lineage; with `overview`, for 30 ms more, all that
        people ask (storage.overview, standings, mentions). Writers do not disturb it.
        """
        pinned = self.versions() if versions is None else versions
        con = views.connection(self.path / ".tmp", memory_limit or self.memory_limit, threads)
        self.home.admit(con)
        with translated("store"):
            for statement in self.view_statements(pinned, overview):
                con.execute(statement)
        return con

    def view_statements(self, versions: Mapping[str, int], overview: bool = True) -> list[str]:
        """The SQL that makes every view over the files of those versions."""
        declared = self.declared()
        made = []
        for table in (*TABLES.values(), *declared):
            version = versions.get(table.name, -1)
            files = self.files(table.name, version) if version >= 0 else []
            made.append(f"CREATE VIEW {views.name(table.name)} AS {self.select(table.name, files)}")
        asked = (*views.derived(declared), *(views.OVERVIEW if overview else ()))
        return [*made, *(view.statement for view in asked)]


def equal(where: Mapping[str, str]) -> list[str]:
    """SQL conditions that columns have values."""
    return [f"{views.name(column)} = {views.literal(value)}" for column, value in sorted(where.items())]
