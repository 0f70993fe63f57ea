"""Runs the queries in dashboards/queries by name: one question a file, asked in its first line."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

import duckdb

QUERIES = files("dashboards") / "queries"


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


def ask(db: duckdb.DuckDBPyConnection, name: str, **values: Any) -> list[dict[str, Any]]:
    """Answers a query over `Store.connect()` as a dictionary a row; it takes those `values` that it names."""
    given = {key: value for key, value in values.items() if key in parameters(name)}
    cursor = db.execute(text(name), given)
    columns = [column[0] for column in cursor.description or []]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def ask_one(db: duckdb.DuckDBPyConnection, name: str, **values: Any) -> dict[str, Any]:
    """The first row of an answer; empty if there is none."""
    return next(iter(ask(db, name, **values)), {})
