"""Runs the queries in dashboards/queries by name: one question a file, asked in its first line.

Those of `KEPT` go over all rows, and tell no whole text of any. Asked in a `Session` with kept answers they are counted once
for each state of the tables that they read, whoever asks: a report, a page, another process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import duckdb
import pyarrow as pa

from storage.kept import Kept, named

QUERIES = files("dashboards") / "queries"


KEPT = frozenset(
    [
        "totals",
        "fates_by_source",
        "fates_by_stage",
        "sum_check",
        "freshness",
        "search_values",
        "fetch_by_outcome",
        "fetch_by_host",
        "fetch_by_hour",
        "duplicate_totals",
        "duplicate_listed",
        "contamination",
        "distribution",
        "languages_and_tasks",
        "licences_and_sources",
        "splits",
        "safety",
        "group_mentions",
        "removal_by_group",
        "group_associations",
        "rows_trained_on",
    ]
)
"""Questions whose answers take all rows to find; none holds a row's text or picture."""


@dataclass(frozen=True)
class Session:
    """A DuckDB over the tables, and the answers that are kept of these versions of them."""

    con: duckdb.DuckDBPyConnection
    kept: Kept | None = None

    def execute(self, sql: str, values: object = None) -> duckdb.DuckDBPyConnection:
        """As DuckDB's."""
        return self.con.execute(sql, values)


Db = Session | duckdb.DuckDBPyConnection


class UnknownQuery(Exception):
    """No query of that name; the message lists those that there are."""


def names() -> list[str]:
    """Names of all queries."""
    return sorted(
        entry.name.removesuffix(".sql") for entry in QUERIES.iterdir() if entry.name.endswith(".sql")
    )


@cache
def text(name: str) -> str:
    """A query's SQL.

    Raises:
        UnknownQuery: there is no such file.
    """
    if name not in names():
        raise UnknownQuery(f"no query {name!r}: there are {', '.join(names())}")
    return (QUERIES / f"{name}.sql").read_text(encoding="utf-8")


def question(name: str) -> str:
    """What a query asks: its first line."""
    return text(name).partition("\n")[0].removeprefix("--").strip()


def parameters(name: str) -> set[str]:
    """Names of the values that a query takes."""
    code = "\n".join(line.partition("--")[0] for line in text(name).splitlines())
    return set(re.findall(r"\$([a-z_]+)", code))


def ask(db: Db, name: str, over: Mapping[str, str] | None = None, **values: Any) -> list[dict[str, Any]]:
    """Answers a query over `Store.connect()` as a dictionary a row; it takes those `values` that it names.

    Args:
        over: temporary tables by their SELECTs. Those that it reads are made, once in a session, and only if nothing is kept.
    """
    given = {key: value for key, value in values.items() if key in parameters(name)}
    read = named(text(name), over or {})
    made = {table: select for table, select in (over or {}).items() if table in read}

    def make() -> None:
        for table, select in made.items():
            db.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table} AS {select}")

    def whole(con: duckdb.DuckDBPyConnection) -> pa.Table:
        make()
        return con.sql(text(name), params=given).to_arrow_table()

    if isinstance(db, Session) and db.kept and name in KEPT:
        con, reads = db.con, "\n".join([text(name), *made.values()])
        return db.kept.once(name, reads, given, lambda: whole(con)).to_pylist()
    make()
    cursor = db.execute(text(name), given)
    columns = [column[0] for column in cursor.description or []]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def ask_one(db: Db, name: str, **values: Any) -> dict[str, Any]:
    """The first row of an answer; empty if there is none."""
    return next(iter(ask(db, name, **values)), {})


def keep(db: Session, over: Mapping[str, str], **values: Any) -> None:
    """Has the answers ready to the questions about all rows that need no more than these values."""
    for name in sorted(KEPT):
        if parameters(name) <= values.keys():
            ask(db, name, over, **values)
