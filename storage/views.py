"""The SQL over a store: a view for each table, and the views that join them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from storage.champions import STATEMENTS as CHAMPION
from storage.lineage import STATEMENTS as LINEAGE
from storage.tables import Table

SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.large_string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
}


def connection(scratch: Path, memory_limit: str, threads: int) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB in UTC that spills to `scratch`, and sees no Python variables."""
    con = duckdb.connect(
        config={"memory_limit": memory_limit, "threads": threads, "temp_directory": str(scratch)}
    )
    con.execute("LOAD icu; SET autoinstall_known_extensions = false")
    return session(con)


def session(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A connection with the settings that are its own, and not the database's."""
    con.execute("SET TimeZone = 'UTC'; SET python_enable_replacements = false")
    return con


def name(word: str) -> str:
    """A quoted SQL identifier."""
    return '"' + word.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def sql_type(kind: pa.DataType) -> str:
    """DuckDB's name of an Arrow type."""
    if pa.types.is_list(kind):
        return sql_type(kind.value_type) + "[]"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ" if kind.tz else "TIMESTAMP"
    return SQL_TYPES[kind]


def scan(files: Sequence[str], *, union: bool = False, filename: bool = False) -> str:
    """A table function over Parquet files."""
    options = (", union_by_name = true" if union else "") + (", filename = true" if filename else "")
    listed = ", ".join(literal(exactly(file)) for file in files)
    return f"read_parquet([{listed}]{options})"


def exactly(file: str) -> str:
    """A pattern that matches only this path: DuckDB takes *, ? and [ for wildcards."""
    return re.sub(r"[*?\[]", r"[\g<0>]", file)


def rows(table: Table, files: Sequence[str], evolved: bool = False) -> str:
    """A SELECT of the table's columns from its files; of no rows when there are none."""
    nothing = (
        "SELECT "
        + ", ".join(
            f"CAST(NULL AS {sql_type(column.type)}) AS {name(column.name)}" for column in table.columns
        )
        + " WHERE false"
    )
    if not files:
        return nothing
    if evolved:  # older files lack columns
        return f"SELECT * FROM {scan(files, union=True)} UNION ALL BY NAME {nothing}"
    return f"SELECT {', '.join(name(c.name) for c in table.columns)} FROM {scan(files)}"


def derived(declared: Sequence[Table]) -> list[str]:
    """The views that join the tables: signals, verdicts, funnel, funnel_check, champion, and those of lineage."""
    return [signals(declared), *FUNNEL, *LINEAGE, *CHAMPION]


def signals(declared: Sequence[Table]) -> str:
    """`samples`, with every annotator's columns beside them as <annotator>_<column>."""
    picked, joins = ["s.*"], []
    for table in declared:
        key = table.key[0]
        alias = name(table.name)
        picked += [
            f"{alias}.{name(c.name)} AS {name(f'{table.name}_{c.name}')}"
            for c in table.columns
            if c.name not in (*table.key, "part")
        ]
        joins.append(f"LEFT JOIN {alias} ON {alias}.{name(key)} = s.{name(key)}")
    return f"CREATE VIEW signals AS SELECT {', '.join(picked)} FROM samples s {' '.join(joins)}"


FUNNEL = (
    # of several stages that dropped a row, the first one tells
    """
CREATE VIEW verdicts AS
SELECT sample_id, any_value(source) AS source, bool_and(kept) AS kept,
       min_by(stage, (stage <> 'collect', stage <> 'filter', stage)) FILTER (NOT kept) AS stage,
       min_by(reason, (stage <> 'collect', stage <> 'filter', stage)) FILTER (NOT kept) AS reason
FROM decisions GROUP BY sample_id
""",
    """
CREATE VIEW funnel AS
WITH counts AS (
    SELECT source, stage, kept, coalesce(reason, 'unstated') AS reason, count(*) AS n
    FROM decisions GROUP BY ALL),
reasons AS (
    SELECT source, stage, map_from_entries(list((reason, n) ORDER BY n DESC, reason)) AS reasons
    FROM counts WHERE NOT kept GROUP BY source, stage)
SELECT source, stage, sum(n)::BIGINT AS came_in, coalesce(sum(n) FILTER (kept), 0)::BIGINT AS kept,
       coalesce(sum(n) FILTER (NOT kept), 0)::BIGINT AS dropped, any_value(reasons) AS reasons
FROM counts LEFT JOIN reasons USING (source, stage)
GROUP BY source, stage
ORDER BY source, stage <> 'collect', stage <> 'filter', came_in DESC, kept DESC, stage
""",
    """
CREATE VIEW funnel_check AS
WITH fates AS (
    SELECT source, count(*) AS judged, count(*) FILTER (kept) AS kept, count(*) FILTER (NOT kept) AS dropped
    FROM verdicts GROUP BY source),
entered AS (SELECT source, count(*) AS came_in FROM samples GROUP BY source)
SELECT coalesce(entered.source, fates.source) AS source, coalesce(came_in, 0) AS came_in,
       coalesce(kept, 0) AS kept, coalesce(dropped, 0) AS dropped,
       coalesce(came_in, 0) = coalesce(kept, 0) + coalesce(dropped, 0) AS adds_up
FROM entered FULL JOIN fates ON entered.source = fates.source ORDER BY 1
""",
)
