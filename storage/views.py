"""The SQL over a store: a view for each table, and the views that join them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from storage import champions, mentions, overview, standings, traces
from storage.derived import View
from storage.tables import SAMPLE_ID, TABLES, Column, Table

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


def bound(share: float) -> str:
    """A SQL literal below which this share of all ids lies: they are digests, so those are drawn at random."""
    return literal(f"{int(min(share, 1.0) * 0xFFFFFFFF):08x}")


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


def derived(declared: Sequence[Table]) -> list[View]:
    """The views and macros that join the tables, which steps and flows ask, too; each after those that it reads."""
    return [signals(declared), VERDICTS, LOSSES, FUNNEL, FUNNEL_CHECK, *traces.VIEWS, *champions.VIEWS]


OVERVIEW = (*overview.VIEWS, *standings.VIEWS, *mentions.VIEWS)
"""What people ask: over those of `derived`."""


def signals(declared: Sequence[Table]) -> View:
    """`samples`, with every annotator's columns beside them as <annotator>_<column>."""
    picked, joins = ["s.*"], []
    columns = {column.name: described(column) for column in TABLES["samples"].columns}
    for table in declared:
        key = table.key[0]
        alias = name(table.name)
        for column in table.columns:
            if column.name not in (*table.key, "part"):
                picked.append(f"{alias}.{name(column.name)} AS {name(f'{table.name}_{column.name}')}")
                columns[f"{table.name}_{column.name}"] = described(column)
        joins.append(f"LEFT JOIN {alias} ON {alias}.{name(key)} = s.{name(key)}")
    select = f"SELECT {', '.join(picked)} FROM samples s {' '.join(joins)}"
    return View(
        "signals",
        "samples, with every annotator's columns beside them as <annotator>_<column>.",
        columns,
        select,
    )


def described(column: Column) -> str:
    """A column's sentence, with its unit."""
    return column.doc + (f" [{column.unit}]" if column.unit else "")


LOSSES = View(
    "losses",
    "One row per dropped sample: the first stage that dropped it, and why. A tenth of what `verdicts` costs.",
    {
        "sample_id": SAMPLE_ID.doc,
        "source": "Name of the source.",
        "stage": "The first stage that dropped it.",
        "reason": "Why.",
    },
    # of several stages that dropped a row, the first one tells
    """
SELECT sample_id, any_value(source) AS source, min_by(stage, (stage <> 'collect', stage <> 'filter', stage)) AS stage,
       min_by(reason, (stage <> 'collect', stage <> 'filter', stage)) AS reason
FROM decisions WHERE NOT kept GROUP BY sample_id
""",
)
VERDICTS = View(
    "verdicts",
    "One row per decided sample: kept by every stage, or the stage and reason that dropped it.",
    {
        "sample_id": SAMPLE_ID.doc,
        "source": "Name of the source.",
        "kept": "Whether every stage kept it.",
        "stage": "The first stage that dropped it; null when kept.",
        "reason": "Why; null when kept.",
    },
    # of several stages that dropped a row, the first one tells
    """
SELECT sample_id, any_value(source) AS source, bool_and(kept) AS kept,
       min_by(stage, (stage <> 'collect', stage <> 'filter', stage)) FILTER (NOT kept) AS stage,
       min_by(reason, (stage <> 'collect', stage <> 'filter', stage)) FILTER (NOT kept) AS reason
FROM decisions GROUP BY sample_id
""",
)
FUNNEL = View(
    "funnel",
    "Per source and stage: rows that came in, were kept, were dropped, and why.",
    {
        "source": "Name of the source.",
        "stage": "collect, filter or the name of a gather, in the order in which rows meet them.",
        "came_in": "Rows that the stage decided on. [rows]",
        "kept": "Those that went on. [rows]",
        "dropped": "Those that did not. [rows]",
        "reasons": "Reasons to dropped rows, the most frequent first; null when none was dropped.",
    },
    """
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
)
FUNNEL_CHECK = View(
    "funnel_check",
    "Per source: came in = kept + dropped, and whether it adds up.",
    {
        "source": "Name of the source.",
        "came_in": "Rows that came in. [rows]",
        "kept": "Rows that every stage kept. [rows]",
        "dropped": "Rows that a stage dropped. [rows]",
        "adds_up": "Whether every row was kept or dropped.",
    },
    """
WITH judged AS (SELECT source, count(*) AS judged FROM decisions WHERE stage = 'collect' GROUP BY source),
lost AS (SELECT source, count(*) AS dropped FROM losses GROUP BY source),
fates AS (
    SELECT coalesce(judged.source, lost.source) AS source, coalesce(judged, 0) - coalesce(dropped, 0) AS kept,
           coalesce(dropped, 0) AS dropped
    FROM judged FULL JOIN lost ON judged.source = lost.source),
entered AS (SELECT source, count(*) AS came_in FROM samples GROUP BY source)
SELECT coalesce(entered.source, fates.source) AS source, coalesce(came_in, 0) AS came_in,
       coalesce(kept, 0) AS kept, coalesce(dropped, 0) AS dropped,
       coalesce(came_in, 0) = coalesce(kept, 0) + coalesce(dropped, 0) AS adds_up
FROM entered FULL JOIN fates ON entered.source = fates.source ORDER BY 1
""",
)
