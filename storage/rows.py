"""Rows on their way into a table: shaped to its columns, and written as Parquet files of bounded size.

Files are written here and only committed by delta-rs, because its own writer holds a commit's rows in memory
two or three times over (measured: 320 MB of pictures took 800 MB; here 100 MB, whatever their number).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from storage.errors import StoreError, first_line, translated
from storage.location import Location
from storage.tables import Table

GROUP_ROWS = 65_536
GROUP_BYTES = 16 << 20
"""A row group is closed at either: this much of a table is in memory."""
FILE_BYTES = 512 << 20
"""A data file is closed at this size on the disk."""


def has_blobs(table: Table) -> bool:
    """Whether the table holds pictures or the like."""
    return any(pa.types.is_binary(column.type) for column in table.columns)


def batch_rows(table: Table) -> int:
    """Rows to read at a time."""
    return 256 if has_blobs(table) else 16_384


def ids(table: Table) -> list[str]:
    """Columns whose bounds may stand in the log; others would put texts where no vacuum reaches."""
    return [column.name for column in table.columns if column.name.endswith("_id") or column.name == "part"]


def plain(table: Table) -> pa.Schema:
    """The table's schema without the sentences about its columns."""
    return pa.schema([(column.name, column.type) for column in table.columns])


def conform(rows: pa.Table, table: Table, part: str | None = None) -> pa.Table:
    """Rows in the table's columns, order and types; what is missing is null.

    Raises:
        StoreError: a column that the table does not have, or a value that does not fit.
    """
    names = set(rows.column_names)
    if extra := names - set(table.schema.names):
        known = ", ".join(table.schema.names)
        raise StoreError(f"{table.name} has no column {', '.join(sorted(extra))}: it has {known}")
    columns = []
    for column in table.columns:
        if column.name in names:
            try:
                columns.append(rows.column(column.name).cast(column.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise StoreError(f"{table.name}.{column.name}: {first_line(error)}") from None
        else:
            value = pa.scalar(part if column.name == "part" else None, column.type)
            columns.append(pa.chunked_array([pa.repeat(value, rows.num_rows)]))
    return pa.table(columns, schema=plain(table))


def conformed(
    batches: Iterable[pa.RecordBatch], table: Table, part: str | None = None
) -> Iterator[pa.RecordBatch]:
    """The same for a stream, batch by batch."""
    for batch in batches:
        yield from conform(pa.Table.from_batches([batch]), table, part).to_batches()


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """Pictures are compressed already, and statistics of them are waste."""
    small = [field.name for field in schema if not pa.types.is_binary(field.type)]
    if len(small) == len(schema):
        return {"compression": "zstd"}
    return {"compression": "none", "use_dictionary": small, "write_statistics": small}


def grouped(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Batches put together to row groups."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield pa.Table.from_batches(held, schema)
            held, rows, size = [], 0, 0
    if rows:
        yield pa.Table.from_batches(held, schema)


def write_files(
    folder: Location, table: Table, batches: Iterable[pa.RecordBatch], *, data_change: bool = True
) -> list[AddAction]:
    """Writes rows as data files that no commit names yet; no file at all for no rows.

    Raises:
        StoreFull: no room; what was written of them is removed.
    """
    written: list[str] = []
    added: list[AddAction] = []
    groups = grouped(batches, plain(table))
    try:
        with translated(table.name, folder.explained):
            group = next(groups, None)
            while group is not None:
                name = f"part-{uuid.uuid4()}.parquet"
                written.append(name)
                bounds = Bounds(ids(table))
                with folder.create(name) as out:
                    with pq.ParquetWriter(out, plain(table), **parquet_options(plain(table))) as writer:
                        # as compaction sees the size: a file that is full must not look small
                        while group is not None and out.tell() < FILE_BYTES:
                            writer.write_table(group)
                            bounds.see(group)
                            group = next(groups, None)
                    size = out.tell()
                now = int(time.time() * 1000)
                added.append(AddAction(name, size, {}, now, data_change, bounds.json()))
    except BaseException:
        for name in written:
            with suppress(StoreError):  # a bucket that does not answer: a vacuum will find it
                folder.remove(name)
        raise
    return added


class Bounds:
    """Counts and bounds of a file's ids, as Delta Lake's log has them."""

    def __init__(self, columns: list[str]) -> None:
        self.rows = 0
        self.low: dict[str, str] = {}
        self.high: dict[str, str] = {}
        self.nulls = dict.fromkeys(columns, 0)

    def see(self, rows: pa.Table) -> None:
        """Takes in one row group."""
        self.rows += rows.num_rows
        for name in self.nulls:
            column = rows.column(name)
            self.nulls[name] += column.null_count
            found = pc.min_max(column).as_py()
            if found["min"] is not None:
                self.low[name] = min(self.low.get(name, found["min"]), found["min"])
                self.high[name] = max(self.high.get(name, found["max"]), found["max"])

    def json(self) -> str:
        """The statistics of one data file."""
        return json.dumps(
            {"numRecords": self.rows, "minValues": self.low, "maxValues": self.high, "nullCount": self.nulls}
        )
