"""Rows on their way into a table: shaped to its columns, and how its files are written."""

from __future__ import annotations

import pyarrow as pa
from deltalake.writer import ColumnProperties, WriterProperties

from storage.errors import StoreError, first_line
from storage.tables import Table


BLOB_ROWS = 256
"""Rows of a table with pictures that are in memory at a time."""


def has_blobs(table: Table) -> bool:
    """Whether the table holds pictures or the like."""
    return any(pa.types.is_binary(column.type) for column in table.columns)


def plain(table: Table) -> pa.Schema:
    """The table's schema without the sentences about its columns."""
    return pa.schema([(column.name, column.type) for column in table.columns])


def writing(table: Table) -> WriterProperties:
    """Pictures are compressed already, statistics of them are waste, and a row group has to fit in memory."""
    if not has_blobs(table):
        return WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=65_536)
    blob = ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE")
    return WriterProperties(
        compression="UNCOMPRESSED",
        max_row_group_size=BLOB_ROWS,
        write_batch_size=BLOB_ROWS,
        column_properties={c.name: blob for c in table.columns if pa.types.is_binary(c.type)},
    )


def conform(rows: pa.Table, table: Table, part: str | None = None) -> pa.Table:
    """Rows in the table's columns, order and types; what is missing is null.

    Raises:
        StoreError: a column that the table does not have, or a value that does not fit.
    """
    extra = [name for name in rows.column_names if name not in table.schema.names]
    if extra:
        raise StoreError(f"{table.name} has no column {', '.join(extra)}: it has {', '.join(table.schema.names)}")
    columns = []
    for column in table.columns:
        if column.name in rows.column_names:
            try:
                columns.append(rows.column(column.name).cast(column.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise StoreError(f"{table.name}.{column.name}: {first_line(error)}") from None
        else:
            value = part if column.name == "part" else None
            columns.append(pa.chunked_array([pa.repeat(pa.scalar(value, column.type), rows.num_rows)]))
    return pa.table(columns, schema=plain(table))


def conformed(rows: pa.RecordBatchReader, table: Table, part: str | None = None) -> pa.RecordBatchReader:
    """The same for a stream, batch by batch."""
    batches = (made for batch in rows for made in conform(pa.table(batch), table, part).to_batches())
    return pa.RecordBatchReader.from_batches(plain(table), batches)
