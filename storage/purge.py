"""Rows out of a table for good: out of every data file that is there, whichever versions name it.

A delete in Delta Lake makes a new version, and older ones, which snapshots pin, keep the rows. Here each file that holds
such rows is written anew without them and takes the old one's place under the same name, so that every version of the
table, and every snapshot, reads as if they had never been. Then the log is told the files' new sizes and bounds. A kill in
between leaves a store that reads right, and sizes that the next call mends.

Who reads a file of those in this very moment may get an error, and none on the next try.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from storage import views
from storage.errors import translated
from storage.meta import replace
from storage.rows import Bounds, batch_rows, grouped, has_blobs, ids
from storage.store import Store
from storage.tables import Table

SCRATCH = ".purge-"


def files(store: Store, table: str) -> list[Path]:
    """Every data file of a table, of whatever version, and what of it is staged."""
    stored = (store.path / "tables" / table).glob("*.parquet")
    return sorted([*stored, *(store.path / "staging").glob(f"*/{table}.parquet")])


def everything(store: Store, table: str) -> str:
    """SQL of all rows that a table ever had and that are still in a file, those of staged parts, too."""
    return views.rows(store.table(table), [str(file) for file in files(store, table)], evolved=True)


def purge(store: Store, table: str, condition: str, given: Mapping[str, pa.Table]) -> int:
    """Removes the rows of which an SQL condition holds from every file of a table; returns from how many files.

    `given` are relations that the condition may ask.
    """
    form, folder = store.table(table), store.path / "tables" / table
    with store.lock(f"table-{table}"), translated(table):
        for place in (folder, *(store.path / "staging").glob("*")):
            for left in place.glob(f"{SCRATCH}*"):
                left.unlink()
        if not (there := files(store, table)):
            return 0
        changed = 0
        with views.connection(store.path / ".tmp", store.memory_limit, 2) as con:
            con.execute("SET enable_external_file_cache = false")  # files are replaced
            for name, rows in given.items():
                con.register(name, rows)
            for file in there:
                changed += _rewrite(con, form, file, condition)
        if folder.is_dir():
            mend(folder, form)
    return changed


def _rewrite(con: duckdb.DuckDBPyConnection, form: Table, file: Path, condition: str) -> bool:
    source = views.scan([str(file)])
    present = set(pq.read_schema(file).names)
    missing = [column for column in form.columns if column.name not in present]
    padded = "".join(f", CAST(NULL AS {views.sql_type(c.type)}) AS {views.name(c.name)}" for c in missing)
    whole = f"(SELECT *{padded} FROM {source})"
    if not con.sql(f"SELECT 1 FROM {whole} WHERE {condition} LIMIT 1").fetchall():
        return False
    schema = pq.read_schema(file)
    names = ", ".join(views.name(name) for name in schema.names)
    stay = con.sql(f"SELECT {names} FROM {whole} WHERE ({condition}) IS NOT TRUE")
    plain = pa.schema([(field.name, field.type) for field in schema])
    scratch = file.with_name(f"{SCRATCH}{file.stem}")
    with pq.ParquetWriter(scratch, schema, **_options(form, schema)) as writer:
        reader = stay.to_arrow_reader(batch_rows(form))
        batches = (one for batch in reader for one in pa.Table.from_batches([batch]).cast(plain).to_batches())
        for group in grouped(batches, plain):
            writer.write_table(group.cast(schema))
    with scratch.open("rb") as written:
        os.fsync(written.fileno())
    scratch.replace(file)
    return True


def _options(form: Table, schema: pa.Schema) -> dict[str, Any]:
    if not has_blobs(form):
        return {"compression": "zstd"}
    small = [field.name for field in schema if not pa.types.is_binary(field.type)]
    return {"compression": "none", "use_dictionary": small, "write_statistics": small}


def mend(folder: Path, form: Table) -> int:
    """Tells a table's log the sizes and bounds of files that were written anew; how many commits said otherwise.

    The log's checkpoints repeat them, and go first: without them it is read from its beginning.
    """
    log = folder / "_delta_log"
    wrong = {file: text for file in sorted(log.glob("*.json")) if (text := _mended(folder, form, file))}
    if not wrong:
        return 0
    checkpoints = list(log.glob("*.checkpoint*.parquet"))
    (log / "_last_checkpoint").unlink(missing_ok=True)
    for one in checkpoints:
        one.unlink()
    for file, text in wrong.items():
        replace(file, text)
    if checkpoints:
        DeltaTable(folder).create_checkpoint()
    return len(wrong)


def _mended(folder: Path, form: Table, commit: Path) -> str | None:
    """A commit's text with the sizes of the files as they are; None if it has them."""
    lines, changed = [], False
    for line in commit.read_text(encoding="utf-8").splitlines():
        action = json.loads(line) if line.strip() else {}
        add = action.get("add")
        file = folder / unquote(add["path"]) if add else None
        if add and file is not None and file.exists() and _differs(add, file):
            add["size"], add["stats"] = file.stat().st_size, _stats(form, file)
            line, changed = json.dumps(action, separators=(",", ":")), True
        lines.append(line)
    return "\n".join(lines) if changed else None


def _differs(add: Mapping[str, Any], file: Path) -> bool:
    told = json.loads(add.get("stats") or "{}").get("numRecords")
    return add["size"] != file.stat().st_size or told != pq.read_metadata(file).num_rows


def _stats(form: Table, file: Path) -> str:
    with pq.ParquetFile(file) as opened:
        bounds = Bounds([name for name in ids(form) if name in opened.schema_arrow.names])
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


def clear(folders: Sequence[Path]) -> Iterator[Path]:
    """Removes all that lies in some folders; what it removed."""
    for folder in folders:
        for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if file.is_file():
                file.unlink(missing_ok=True)
                yield file
