"""Files of rows (CSV, TSV, JSONL, JSON, Parquet, lists of lines), read one record after the other.

A record that cannot be read is yielded too, with what is wrong: nothing that came in gets lost.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.rows import SourceError

KINDS = ("csv", "tsv", "jsonl", "ndjson", "parquet")
"""File name endings of tables with named columns."""


@dataclass(frozen=True)
class Record:
    """One record: its number in the file (from 0), its values, and what is wrong with it."""

    number: int
    values: dict[str, Any] = field(default_factory=dict)
    wrong: str | None = None


def read(path: Path, columns: list[str] | None = None) -> Iterator[Record]:
    """The file's records; `columns` spares reading others where the format allows it.

    Raises:
        SourceError: the file is not there, or is not what its name says.
    """
    kind = path.suffix.lower().lstrip(".")
    readers = {"csv": _csv, "tsv": _csv, "jsonl": _jsonl, "ndjson": _jsonl, "json": _json, "txt": _lines}
    try:
        if kind == "parquet":
            yield from _parquet(path, columns)
        elif kind in readers:
            yield from readers[kind](path)
        else:
            ends = ", ".join((*readers, "parquet"))
            raise SourceError(f"{path.name}: its name should end in one of {ends}")
    except FileNotFoundError:
        raise SourceError(f"{path.name}: no such file") from None
    except OSError as error:
        raise SourceError(f"{path.name}: cannot be read: {error.strerror or error}") from None


def _csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a huge caption is for the text limits to judge
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        reader = csv.reader(lines, delimiter=delimiter)
        try:
            names = next(reader, None)
            if not names:
                raise SourceError(f"{path.name}: empty; its first line should name the columns")
            number = -1
            for cells in reader:
                if not cells:
                    continue
                number += 1
                if len(cells) > len(names):
                    yield Record(number, wrong=f"{len(cells)} cells in {len(names)} columns")
                else:
                    yield Record(number, {n: c or None for n, c in zip(names, cells, strict=False)})
        except csv.Error as error:
            where = f"{path.name}, line {reader.line_num}"
            raise SourceError(f"{where}: not readable as CSV: {error}") from None


def _jsonl(path: Path) -> Iterator[Record]:
    with path.open("rb") as lines:
        number = -1
        for line in lines:
            if not line.strip():
                continue
            number += 1
            yield _record(number, parse_json(line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line))


def _json(path: Path) -> Iterator[Record]:
    value = parse_json(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    if not isinstance(value, list):
        raise SourceError(f"{path.name}: should hold a JSON list of objects")
    for number, item in enumerate(value):
        yield _record(number, item)


def _record(number: int, value: Any) -> Record:
    if isinstance(value, dict):
        return Record(number, value)
    return Record(number, wrong="not JSON" if isinstance(value, NotJson) else "not a JSON object")


class NotJson:
    """What `parse_json` returns for text that is none."""


def parse_json(raw: bytes) -> Any:
    """The value, with invalid bytes kept as surrogates, or NotJson."""
    try:
        return json.loads(raw.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return NotJson()


def _lines(path: Path) -> Iterator[Record]:
    with path.open("rb") as lines:
        number = -1
        for line in lines:
            text = line.decode("utf-8", "surrogateescape").strip("\ufeff \t\r\n")
            if text:
                number += 1
                yield Record(number, {"url": text})


def _parquet(path: Path, columns: list[str] | None) -> Iterator[Record]:
    try:
        with pq.ParquetFile(path) as file:
            if columns is not None:
                columns = [name for name in columns if name in file.schema_arrow.names]
            number = -1
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for values in batch.to_pylist():
                    number += 1
                    yield Record(number, values)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise SourceError(f"{path.name}: not a readable Parquet file: {str(error)[:200]}") from None
