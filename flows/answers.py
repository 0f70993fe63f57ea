"""Answers of SQL: their first rows for a terminal, or a file of all, written piece by piece and then swapped in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from flows.printing import plain
from storage import question, views
from storage.errors import StoreError
from storage.store import Store


class UnknownForm(StoreError):
    """The name of a file does not say in which form to write it."""


def answer(store: Store, text: str, most: int | None = None) -> tuple[list[dict[str, Any]], int]:
    """The first rows of an answer, all if `most` is None, and how many there are.

    Raises:
        QuestionRefused: it is not one question, or could do more than read the tables.
    """
    with question.answered(store, text) as reader:
        names = distinct(reader.schema.names)
        rows: list[dict[str, Any]] = []
        total = 0
        for batch in reader:
            wanted = batch.num_rows if most is None else max(0, most - len(rows))
            rows += batch.slice(0, wanted).rename_columns(names).to_pylist()
            total += batch.num_rows
    return rows, total


def write(store: Store, text: str, path: Path) -> int:
    """Writes an answer of any length to a file, in one step, and returns how many rows there are.

    Raises:
        QuestionRefused: it is not one question, or could do more than read the tables.
        UnknownForm: the file's name does not say what it is to be.
    """
    with question.answered(store, text) as reader:
        names = distinct(reader.schema.names)
        schema = pa.schema([field.with_name(name) for field, name in zip(reader.schema, names, strict=True)])
        renamed = (batch.rename_columns(names) for batch in reader)
        return save(pa.RecordBatchReader.from_batches(schema, renamed), path)


def distinct(names: Sequence[str]) -> list[str]:
    """The names, a second one of the same as `name_1`: a row is a dictionary and loses nothing."""
    taken: dict[str, None] = {}
    for name in names:
        free = (f"{name}_{n}" for n in count(1))
        taken[name if name not in taken else next(one for one in free if one not in {*taken, *names})] = None
    return list(taken)


def csv(rows: pa.RecordBatchReader, path: Path) -> None:
    """DuckDB's, which writes lists, structs and bytes, too."""
    with closing(duckdb.connect()) as con:
        con.execute("LOAD icu; SET TimeZone = 'UTC'")
        con.register("answer", rows)
        con.execute(f"COPY answer TO {views.literal(str(path))} (FORMAT csv, HEADER)")


def parquet(rows: pa.RecordBatchReader, path: Path) -> None:
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(batch)


def json_lines(rows: pa.RecordBatchReader, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines(rows))


def json_list(rows: pa.RecordBatchReader, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        between = "["
        for line in lines(rows):
            file.write(f"{between}\n{line}")
            between = ","
        file.write("[]\n" if between == "[" else "\n]\n")


def lines(rows: pa.RecordBatchReader) -> Iterator[str]:
    """Each row as JSON; DuckDB would write NaN, which is none."""
    for batch in rows:
        for row in batch.to_pylist():
            yield json.dumps(plain(row), default=str, ensure_ascii=False, allow_nan=False)


FORMS: dict[str, Callable[[pa.RecordBatchReader, Path], None]] = {
    ".csv": csv,
    ".parquet": parquet,
    ".json": json_list,
    ".jsonl": json_lines,
}


def form(path: Path) -> Callable[[pa.RecordBatchReader, Path], None]:
    """What writes a file of that name.

    Raises:
        UnknownForm: its name does not end in one of the forms.
    """
    found = FORMS.get(path.suffix.lower())
    if found is None:
        raise UnknownForm(f"{path}: the name must end in {', '.join(FORMS)}")
    return found


def save(rows: pa.RecordBatchReader, path: Path) -> int:
    """Writes rows to a file in one step, and returns how many there were.

    Raises:
        UnknownForm: its name does not end in one of the forms.
    """
    written = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal written
        for batch in rows:
            written += batch.num_rows
            yield batch

    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        form(path)(pa.RecordBatchReader.from_batches(rows.schema, counted()), scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return written
