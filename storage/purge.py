"""Rows out of a table for good: out of every data file that is there, whichever versions name it.

A delete in Delta Lake makes a new version, and older ones, which snapshots pin, keep the rows. Here each file that holds
such rows is written anew without them and takes the old one's place under the same name, so that every version of the
table, and every snapshot, reads as if they had never been. Then the log is told the files' new sizes and bounds. A kill in
between leaves a store that reads right, and sizes that the next call mends.

Who reads a file of those in this very moment may get an error, and none on the next try.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from storage import location, views
from storage.errors import translated
from storage.location import SCRATCH, Folder, Location
from storage.rows import Bounds, batch_rows, grouped, ids, parquet_options
from storage.store import Store
from storage.tables import Table


def files(store: Store, table: str) -> list[tuple[Location, str]]:
    """Place and name of every data file of a table, of whatever version, and of what of it is staged. What a killed writer
    left is neither, for it may be half a file; an object in a bucket is whole, and its commit may be another machine's."""
    home, named = store.place(table), store.named(table)
    found: list[tuple[Location, str]] = [
        (home, name)
        for name in home.names(".parquet")
        if name in named or (home.remote and not name.startswith(SCRATCH))
    ]
    staged = sorted((store.path / "staging").glob(f"[!.]*/{table}.parquet"))
    return found + [(Folder(one.parent), one.name) for one in staged]


def leavings(store: Store, table: str) -> Iterator[tuple[Location, str]]:
    """The same of what kills left: files that were to take another's place, and others that no commit names. The caller
    holds the table's lock."""
    home = store.place(table)
    staged = [Folder(one) for one in sorted((store.path / "staging").glob("[!.]*"))]
    for place in (home, home / "_delta_log", *staged):
        yield from ((place, name) for name in place.names() if name.startswith(SCRATCH))
    if not home.remote and store.version(table) >= 0:  # of a table without a log nothing is known
        named = store.named(table)
        yield from ((home, name) for name in home.names(".parquet") if name not in named)


def everything(store: Store, table: str) -> str:
    """SQL of all rows that a table ever had and that are still in a file, those of staged parts, too."""
    there = [place.file(name) for place, name in files(store, table)]
    return views.rows(store.table(table), there, evolved=True)


@contextmanager
def asking(store: Store, given: Mapping[str, pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that sees these relations, and each file as it is."""
    with views.connection(store.path / ".tmp", store.memory_limit, 2) as con:
        store.home.admit(con)
        con.execute("SET enable_external_file_cache = false")  # files are replaced
        for name, rows in given.items():
            con.register(name, rows)
        yield con


def purge(store: Store, table: str, condition: str, con: duckdb.DuckDBPyConnection) -> int:
    """Removes the rows of which an SQL condition holds from every file of a table; returns from how many files.

    The condition may ask what `con` sees, which `asking` made.
    """
    form, home = store.table(table), store.place(table)
    with store.lock(f"table-{table}"), translated(table, home.explained):
        for place, left in list(leavings(store, table)):
            place.remove(left)
        changed = sum(_rewrite(con, form, place, name, condition) for place, name in files(store, table))
        if mend(home, form) or changed:
            store.look_anew()
    return changed


def _rewrite(con: duckdb.DuckDBPyConnection, form: Table, place: Location, name: str, condition: str) -> bool:
    source = views.scan([place.file(name)])
    with place.open(name) as opened:
        schema = pq.read_schema(opened)
    missing = [column for column in form.columns if column.name not in schema.names]
    padded = "".join(f", CAST(NULL AS {views.sql_type(c.type)}) AS {views.name(c.name)}" for c in missing)
    whole = f"(SELECT *{padded} FROM {source})"
    if not con.sql(f"SELECT 1 FROM {whole} WHERE {condition} LIMIT 1").fetchall():
        return False
    names = ", ".join(views.name(one) for one in schema.names)
    stay = con.sql(f"SELECT {names} FROM {whole} WHERE ({condition}) IS NOT TRUE")
    plain = pa.schema([(field.name, field.type) for field in schema])
    with place.replacing(name) as out, pq.ParquetWriter(out, schema, **parquet_options(schema)) as writer:
        reader = stay.to_arrow_reader(batch_rows(form))
        batches = (one for batch in reader for one in pa.Table.from_batches([batch]).cast(plain).to_batches())
        for group in grouped(batches, plain):
            writer.write_table(group.cast(schema))
    return True


def mend(home: Location, form: Table) -> int:
    """Tells a table's log the sizes and bounds of files that were written anew; how many commits said otherwise.

    The log's checkpoints repeat them, and go first: without them it is read from its beginning.
    """
    log = home / "_delta_log"
    there = log.names()
    sizes = home.sizes(name for name in home.names(".parquet") if not name.startswith(SCRATCH))
    commits = [name for name in there if name.endswith(".json")]
    wrong = {name: text for name in commits if (text := _mended(home, form, log.read(name) or b"", sizes))}
    if not wrong:
        return 0
    checkpoints = [name for name in there if ".checkpoint" in name and name.endswith(".parquet")]
    for name in ("_last_checkpoint", *checkpoints):
        log.remove(name)
    for name, text in wrong.items():
        with log.replacing(name) as out:
            out.write(text.encode())
    if checkpoints:
        location.table(home).create_checkpoint()
    return len(wrong)


def _mended(home: Location, form: Table, commit: bytes, sizes: Mapping[str, int]) -> str | None:
    """A commit's text with the sizes of the files as they are; None if it has them."""
    lines, changed = [], False
    for line in commit.decode("utf-8").splitlines():
        action = json.loads(line) if line.strip() else {}
        add = action.get("add")
        name = unquote(add["path"]) if add else ""
        if add and name in sizes and _differs(add, home, name, sizes[name]):
            add["size"], add["stats"] = sizes[name], _stats(form, home, name)
            line, changed = json.dumps(action, separators=(",", ":")), True
        lines.append(line)
    return "\n".join(lines) if changed else None


def _differs(add: Mapping[str, Any], home: Location, name: str, size: int) -> bool:
    told = json.loads(add.get("stats") or "{}").get("numRecords")
    if add["size"] != size:
        return True
    with home.open(name) as opened:
        return told != pq.read_metadata(opened).num_rows


def _stats(form: Table, home: Location, name: str) -> str:
    with home.open(name) as source, pq.ParquetFile(source) as opened:
        bounds = Bounds([one for one in ids(form) if one in opened.schema_arrow.names])
        for batch in opened.iter_batches(columns=list(bounds.nulls)):
            bounds.see(pa.Table.from_batches([batch]))
    return bounds.json()


def holding(store: Store, table: str, condition: str, given: Mapping[str, pa.Table]) -> int:
    """Rows of a table's newest version of which a condition holds."""
    if not (newest := store.files(table)):
        return 0
    with store.cursor() as con:
        for name, rows in given.items():
            con.register(name, rows)
        query = f"SELECT count(*) FROM ({store.select(table, newest)}) WHERE {condition}"
        return int(con.sql(query).fetchall()[0][0])


def clear(folder: Path) -> None:
    """Removes all that lies in a folder. What lies there as a folder goes in one step: who looks for it finds it whole, or
    not at all."""
    for one in sorted(folder.iterdir()) if folder.is_dir() else ():
        if one.is_dir():
            gone = one if one.name.startswith(SCRATCH) else one.with_name(f"{SCRATCH}{one.name}")
            one.rename(gone)
            shutil.rmtree(gone)
        else:
            one.unlink(missing_ok=True)
