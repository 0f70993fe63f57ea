"""Files of rows (CSV, TSV, JSONL, JSON, Parquet, lists of lines), read one record after the other.

A record that cannot be read is yielded too, with what is wrong: nothing that came in gets lost.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from pipeline.dotted import Absent, at_path, what
from pipeline.errors import SourceError as SourceError
from pipeline.files import File, parquet, reading
from pipeline.files import files as files
from pipeline.files import identity as identity
from pipeline.files import relative as relative

KINDS = ("csv", "tsv", "jsonl", "ndjson", "parquet")
"""File name endings of tables with named columns."""


@dataclass(slots=True)
class Record:
    """One record: its number in the file (from 0), its values, and what is wrong with it."""

    number: int
    values: dict[str, Any] = field(default_factory=dict)
    wrong: str | None = None


def valid(name: str) -> str:
    """The name as valid text: bytes that are not UTF-8 are spelled out."""
    for spelling in ("strict", "surrogateescape"):
        try:
            return name.encode("utf-8", spelling).decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:  # perhaps half a character, which a table may state
            continue
    return name.encode("utf-8", "surrogatepass").decode("utf-8", "backslashreplace")


def read(path: File, columns: list[str] | None = None, items: str | None = None) -> Iterator[Record]:
    """The file's records; `columns` spares reading others where the format allows it.

    `items` is where the list of records lies in a JSON document ("photos.photo"); one object is a list of one.

    Raises:
        SourceError: the file is not there, or is not what its name says.
    """
    kind = path.suffix.lower().lstrip(".")
    if items is not None and kind != "json":
        raise SourceError(f"{path.name}: items are looked for in .json files")
    readers = {"csv": _csv, "tsv": _csv, "jsonl": _jsonl, "ndjson": _jsonl, "txt": _lines}
    with told(path):
        if kind == "parquet":
            yield from _parquet(path, columns)
        elif kind == "json":
            yield from _json(path, items)
        elif kind in readers:
            yield from readers[kind](path)
        else:
            ends = ", ".join((*readers, "json", "parquet"))
            raise SourceError(f"{path.name}: its name should end in one of {ends}")


@contextmanager
def told(path: File) -> Iterator[None]:
    """A file that is not there, or cannot be read, is a SourceError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise SourceError(f"{path.name}: no such file") from None
    except OSError as error:
        raise SourceError(f"{path.name}: cannot be read: {error.strerror or error}") from None


def _csv(path: File) -> Iterator[Record]:
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


def _jsonl(path: File) -> Iterator[Record]:
    for number, line in _numbered(path):
        yield _record(number, parse_json(line))


def _numbered(path: File) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty."""
    with path.open("rb") as lines:
        number = -1
        for line in lines:
            if not line.strip():
                continue
            number += 1
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line


def lines(path: File) -> Iterator[tuple[int, Any, bytes]]:
    """The values of a JSONL table with their numbers and lines. Quick rather than exact: integers beyond 64 bits come as
    floats, so what is to be kept is read again from the line, by `parse_json`.

    Raises:
        SourceError: the file is not there.
    """
    with told(path):
        for number, line in _numbered(path):
            try:
                yield number, orjson.loads(line), line
            except orjson.JSONDecodeError:  # it is stricter, too
                yield number, parse_json(line), line


def _json(path: File, items: str | None) -> Iterator[Record]:
    value = parse_json(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    if isinstance(value, NotJson):
        raise SourceError(f"{path.name}: not JSON; it should hold a JSON list of objects")
    if items is not None:
        try:
            value = at_path(value, items)
        except Absent as absent:
            raise SourceError(f'{path.name}: items = "{items}": {absent}') from None
        value = [value] if isinstance(value, dict) else value
    if not isinstance(value, list):
        wanted = "should hold a JSON list of objects" if items is None else f'items = "{items}"'
        hint = '; say items = "…" to name the list in it' if items is None else ", not a list"
        raise SourceError(f"{path.name}: {wanted}: it is {what(value)}{hint}")
    for number, item in enumerate(value):
        yield _record(number, item)


def _record(number: int, value: Any) -> Record:
    wrong = no_object(value)
    return Record(number, value) if wrong is None else Record(number, wrong=wrong)


def no_object(value: Any) -> str | None:
    """What is wrong with a record, if anything is."""
    if isinstance(value, dict):
        return None
    return "not JSON" if isinstance(value, NotJson) else "not a JSON object"


class NotJson:
    """What `parse_json` returns for text that is none."""


def parse_json(raw: bytes) -> Any:
    """The value, with invalid bytes kept as surrogates, or NotJson."""
    text = raw.decode("utf-8", "surrogateescape").strip(" \t\r\n")
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return NotJson()
    return value if end == len(text) else NotJson()


_DECODER = json.JSONDecoder()


def _lines(path: File) -> Iterator[Record]:
    with path.open("rb") as lines:
        number = -1
        for line in lines:
            text = line.decode("utf-8", "surrogateescape").strip("\ufeff \t\r\n")
            if text:
                number += 1
                yield Record(number, {"url": text})


def _parquet(path: File, columns: list[str] | None) -> Iterator[Record]:
    try:
        with reading(path), parquet(path) as file:
            if columns is not None:
                columns = [name for name in columns if name in file.schema_arrow.names]
            number = -1
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for values in as_dicts(batch):
                    number += 1
                    yield Record(number, values)
    except (pa.ArrowException, ValueError) as error:
        raise SourceError(f"{path.name}: not a readable Parquet file: {str(error)[:200]}") from None


def as_dicts(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The batch's rows, strings as bytes: Parquet does not promise that they are UTF-8."""
    columns = [column.cast(_as_bytes(column.type)) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()
    if pa.types.is_dictionary(kind):
        return _as_bytes(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(_as_bytes(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _as_bytes(f.type)) for f in kind])
    return kind
