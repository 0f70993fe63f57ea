"""Parquet files that hold pictures as bytes or as Hugging Face's struct of bytes and path; or a query.

Without a query, `origin` is the file and the number of the row, or the `key` column if there is one.
With one, each file is a view named by its stem, the result must have a `key` column, and `origin` is that
key; rows that share a key are told apart by `position`, or numbered in the order of their texts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pipeline import records
from pipeline.errors import BucketError, SourceError
from pipeline.files import File, S3File, at, each, look_for, parquet, reading
from pipeline.rows import FIELDS, Positions, RowSource, as_position, as_text, as_texts, batches
from pipeline.step import Shard, digest

MEMORY = "1GB"
READERS = {".parquet": "read_parquet", ".csv": "read_csv", ".tsv": "read_csv", ".jsonl": "read_json"}


class Parquet(RowSource):
    """Rows of Parquet files, or of a DuckDB SELECT that joins several."""

    unfingerprinted: ClassVar[frozenset[str]] = frozenset({"path", "shard_rows"})

    path: str = Field(description='A file, or a pattern ("data/*.parquet", "s3://bucket/data/*.parquet").')
    query: str | None = Field(
        default=None, description="A SELECT over the files, each a view named by its stem."
    )
    shard_rows: int = Field(default=1024, gt=0, description="Rows in a part, about.")

    def check(self) -> None:
        look_for(self.path)

    def shards(self, known: pa.Table) -> Iterator[Shard]:
        """Ranges of rows, known again by the files' size, beginning and end.

        Raises:
            SourceError: no such file, a file that is no Parquet, a query that does not run or gives no key.
        """
        files = records.relative(records.files(self.path))
        if self.query is not None:
            yield from self._query_shards(files)
            return
        positions = Positions()
        for name, path in files.items():
            with reading(path):
                yield from self._file_shards(name, path, positions)

    def read(self, shard: Shard) -> Iterator[pa.RecordBatch]:
        return batches(self._query_rows(shard) if self.query is not None else self._file_rows(shard))

    # --- files

    def _file_shards(self, name: str, path: File, positions: Positions) -> Iterator[Shard]:
        identity = records.identity(path)
        with _opened(path) as file:
            columns = self._columns(file.schema_arrow.names, name)
            groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
            taken = self._positions(file, columns, positions)
        for first, start, stop in _ranges(groups, self.shard_rows):
            payload = {
                "name": name,
                "path": str(path),
                "version": identity,
                "group": first,
                "range": [start, stop],
            }
            if taken is not None:
                payload["positions"] = list(itertools.islice(taken, stop - start))
            yield Shard(digest([name, identity, start, stop]), payload, stop - start)

    def _columns(self, names: list[str], where: str) -> dict[str, str]:
        self.check_columns(names, where)
        found = self.recognise(names, ("image", "key", *FIELDS))
        if "image" not in found and "text" not in found:
            there = f"neither a picture nor a text among {', '.join(names)}"
            raise SourceError(f'{where}: {there}; say columns = {{image = "…"}}')
        return found

    def _positions(
        self, file: pq.ParquetFile, columns: dict[str, str], positions: Positions
    ) -> Iterator[int] | None:
        """A position for each row of a file whose rows have keys, so that a key may come again."""
        if "key" not in columns:
            return None
        needed = [columns["key"], *([columns["position"]] if "position" in columns else [])]
        if "text" in columns and pa.types.is_nested(file.schema_arrow.field(columns["text"]).type):
            needed.append(columns["text"])
        found = []
        for batch in file.iter_batches(8192, columns=needed):
            for values in records.as_dicts(batch):
                texts = values.get(columns.get("text", ""))
                stated = as_position(values.get(columns.get("position", "")))
                rows = len(as_texts(texts))
                found.append(positions.take(as_text(values[columns["key"]]) or "", stated, rows))
        return iter(found)

    def _file_rows(self, shard: Shard) -> Iterator[dict[str, Any]]:
        name, (start, stop) = shard.payload["name"], shard.payload["range"]
        version, positions = shard.payload["version"], iter(shard.payload.get("positions", ()))
        number = start
        try:
            path = at(shard.payload["path"])
            with reading(path), _opened(path) as file:
                columns = self._columns(file.schema_arrow.names, name)
                for values in _records(file, shard.payload["group"], start, stop, list(columns.values())):
                    origin = as_text(values.get(columns.get("key", ""))) or f"{name}#{number}"
                    rows = self._unfolded(values, columns)
                    first = next(positions, None)
                    if first is None:
                        first = rows[0].get("position") or 0
                    for place, row in enumerate(rows, first):
                        yield {**row, "origin": origin, "position": place, "version": version}
                    number += 1
        except (OSError, pa.ArrowException, ValueError) as error:
            detail = f"{type(error).__name__}: {str(error)[:200]}"
            for lost in range(number, stop):
                place = next(positions, 0)
                row = {"origin": f"{name}#{lost}", "position": place, "version": version}
                yield {**row, "error": "unreadable", "detail": detail}

    def _unfolded(self, values: dict[str, Any], columns: dict[str, str]) -> list[dict[str, Any]]:
        picture = _picture(values.get(columns.get("image", "")), self.max_bytes)
        return [{**row, **picture} for row in self.rows(values, columns)]

    # --- query

    def _query_shards(self, files: dict[str, File]) -> Iterator[Shard]:
        known_by = each(records.identity, files.values(), next(iter(files.values())))
        identity = digest([list(pair) for pair in zip(files, known_by, strict=True)])
        with self._connect(files) as db:
            columns = self._query_columns(db)
            key = f'CAST("{columns["key"]}" AS VARCHAR)'
            counts = _run(
                db, f"SELECT {key} AS key, count(*) AS n FROM ({self.query}) GROUP BY ALL ORDER BY key"
            )
            held: list[str] = []
            rows = 0
            for found, count in _pairs(counts):
                if not found:
                    raise SourceError(f"query: {count} rows have no key; give each row one")
                held.append(found)
                rows += count
                if rows >= self.shard_rows:
                    yield self._query_shard(files, identity, held, rows)
                    held, rows = [], 0
            if held:
                yield self._query_shard(files, identity, held, rows)

    def _query_shard(self, files: dict[str, File], identity: str, keys: list[str], rows: int) -> Shard:
        payload = {
            "files": {n: str(p) for n, p in files.items()},
            "version": identity,
            "keys": [keys[0], keys[-1]],
        }
        return Shard(digest([identity, self.query, keys]), payload, rows)

    def _query_rows(self, shard: Shard) -> Iterator[dict[str, Any]]:
        with self._connect({n: at(p) for n, p in shard.payload["files"].items()}) as db:
            columns = self._query_columns(db)
            key = f'CAST("{columns["key"]}" AS VARCHAR)'
            order = dict.fromkeys([key, *(f'"{columns[f]}"' for f in ("position", *FIELDS) if f in columns)])
            query = f"""SELECT {key} AS millrace_key, * FROM ({self.query})
                WHERE {key} BETWEEN ? AND ? ORDER BY {", ".join(order)}"""
            positions = Positions()
            for batch in _batches(_run(db, query, shard.payload["keys"])):
                for values in records.as_dicts(batch):
                    origin = str(values["millrace_key"], "utf-8")
                    rows = self._unfolded(values, columns)
                    first = positions.take(origin, rows[0].get("position"), len(rows))
                    for place, row in enumerate(rows, first):
                        yield {
                            **row,
                            "origin": origin,
                            "position": place,
                            "version": shard.payload["version"],
                        }

    def _query_columns(self, db: duckdb.DuckDBPyConnection) -> dict[str, str]:
        names = [str(row[0]) for row in _run(db, f"DESCRIBE FROM ({self.query})").fetchall()]
        columns = self._columns(names, "query")
        if "key" not in columns:
            raise SourceError(
                f"query: no column named key among {', '.join(names)}; add … AS key, stable and unique"
            )
        return columns

    def _connect(self, files: dict[str, File]) -> duckdb.DuckDBPyConnection:
        """DuckDB with a view of each file, that can read nothing else and write nothing."""
        db = duckdb.connect(
            ":memory:", config={"memory_limit": MEMORY, "threads": 2, "preserve_insertion_order": False}
        )
        first = next(iter(files.values()))
        if isinstance(first, S3File):
            _admit(db, first)
        paths = [path.shown if isinstance(path, S3File) else str(path.resolve()) for path in files.values()]
        db.execute(f"SET allowed_paths = [{', '.join(map(_quoted, paths))}]")
        db.execute("SET enable_external_access = false")
        db.execute("SET lock_configuration = true")
        for name, path in zip(files, paths, strict=True):
            stem = Path(name).stem.replace('"', "")
            reader = READERS.get(Path(name).suffix.lower())
            if reader is None:
                raise SourceError(f"{name}: a query reads files that end in {', '.join(READERS)}")
            _run(db, f'CREATE VIEW "{stem}" AS FROM {reader}({_quoted(path)})')
        return db


def _admit(db: duckdb.DuckDBPyConnection, path: S3File) -> None:
    """Lets DuckDB read a bucket: its wheel cannot, so Arrow does that for it."""
    from fsspec.implementations.arrow import ArrowFSWrapper  # comes with torch

    db.register_filesystem(ArrowFSWrapper(path.filesystem()))


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _run(db: duckdb.DuckDBPyConnection, query: str, values: list[str] | None = None) -> Any:
    try:
        return db.sql(query, params=values) if values else db.execute(query)
    except duckdb.Error as error:
        raise _explained(error) from None


def _batches(result: Any) -> Iterator[pa.RecordBatch]:
    try:
        yield from result.to_arrow_reader(256)
    except (duckdb.Error, OSError) as error:
        raise _explained(error) from None


def _explained(error: Exception) -> SourceError:
    said = str(error)
    if "AWS Error" in said:  # the SDK's words may hold parts of a credential
        return BucketError("query: the bucket stopped answering, or refused; run again")
    return SourceError(f"query: {said.splitlines()[0][:300]}")


def _pairs(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[str | None, int]]:
    while rows := result.fetchmany(8192):
        yield from rows


def _opened(path: File) -> pq.ParquetFile:
    try:
        file = parquet(path)
        assert file.schema_arrow.names is not None  # they may not be text
        return file
    except (OSError, pa.ArrowException, ValueError) as error:
        raise SourceError(f"{path.name}: not a readable Parquet file: {str(error)[:200]}") from None


def _ranges(groups: list[int], rows: int) -> Iterator[tuple[int, int, int]]:
    """(first row group, start, stop) of each shard: small groups are joined, large ones are cut."""
    at, first, start = 0, 0, 0
    for number, size in enumerate(groups):
        if at > start and at + size - start > rows:
            yield first, start, at
            start = at
        if start == at:
            first = number
        at += size
        while at - start > rows:
            yield first, start, start + rows
            start += rows
    if at > start:
        yield first, start, at


def _records(
    file: pq.ParquetFile, group: int, start: int, stop: int, columns: list[str]
) -> Iterator[dict[str, Any]]:
    """Rows start to stop of the file; `group` is the row group that holds the first."""
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    at = sum(sizes[:group])
    groups = [n for n in range(group, len(sizes)) if sum(sizes[:n]) < stop]
    for batch in file.iter_batches(256, row_groups=groups, columns=columns):
        end = at + batch.num_rows
        if end > start:
            yield from records.as_dicts(batch.slice(max(0, start - at), min(stop, end) - max(start, at)))
        at = end
        if at >= stop:
            return


def _picture(value: Any, limit: int) -> dict[str, Any]:
    """The columns of RAW that a picture's cell gives: its bytes, also those in a struct, or what is wrong."""
    if isinstance(value, dict):
        if value.get("bytes") is None and value.get("path"):
            return {"error": "missing_file", "detail": "the struct holds a path and no bytes"}
        value = value.get("bytes")
    if value is None:
        return {"image": None}
    if not isinstance(value, bytes):
        return {"error": "bad_row", "detail": f"the picture is {type(value).__name__}, not bytes"}
    if len(value) > limit:
        return {"error": "too_large", "detail": f"{len(value)} bytes, over {limit}"}
    return {"image": value}
