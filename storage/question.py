"""One question in SQL that somebody types: answered over every view, and nothing else can come of it.

DuckDB calls more a SELECT than reads: `WITH a AS (COPY … TO 'file') FROM a` writes, and so does a table function that
executes SQL which it is given. So three things stand before an answer, each for what the others cannot see:

    one statement, and of a kind that asks (an EXPLAIN is looked at without that word, since EXPLAIN ANALYZE executes)
    its syntax tree: every query in it selects, and its table functions are among those that touch no file
    a locked connection: no file but those of the tables, no network, no extension, no setting
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from storage import views
from storage.errors import QuestionRefused
from storage.store import Store

ROWS = 10_000
"""Rows at a time of an answer that is read piece by piece."""
ASKS = (duckdb.StatementType.SELECT, duckdb.StatementType.MULTI)
"""The latter is a PIVOT: DuckDB takes it apart into several statements."""
SELECTS = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
"""Kinds of queries in a syntax tree that only read; others are COPY_QUERY_NODE, INSERT_QUERY_NODE …"""
FUNCTIONS = {
    *("range", "generate_series", "unnest", "repeat", "repeat_row", "summary", "json_each", "json_tree"),
    *("histogram", "histogram_values", "pragma_version", "icu_calendar_names", "pg_timezone_names"),
}
"""Table functions that read no file, beside those that tell about the connection (duckdb_views …) and the store's own."""
WRITES = ("copy", "insert", "update", "delete", "merge")
GAP = r"(?:\s|/\*.*?\*/|--[^\n]*(?:\n|$))"
EXPLAIN = re.compile(
    rf"{GAP}*explain\b(?P<analyze>{GAP}+analyze\b)?(?:{GAP}*\((?P<options>[\w\s,]*)\)(?={GAP}*\w))?",
    re.IGNORECASE | re.DOTALL,
)


def ask(store: Store, text: str) -> pa.Table:
    """Answers one question over a consistent view of the tables.

    Raises:
        QuestionRefused: it is not one question, but none, several, or something that may write or read files.
    """
    with answered(store, text) as rows:
        return rows.read_all()


@contextmanager
def answered(store: Store, text: str) -> Iterator[pa.RecordBatchReader]:
    """The same for an answer of any length: its rows as they are read.

    Raises:
        QuestionRefused: as `ask`.
    """
    how, question = explained(text)
    versions = store.versions()
    with store.connect(versions, overview=True) as con:
        check(con, question)
        lock(con, [file for table, version in versions.items() for file in store.files(table, version)])
        yield con.sql(how + question).to_arrow_reader(ROWS)


def explained(text: str) -> tuple[str, str]:
    """An EXPLAIN in words of our own, "" if there is none, and the question behind it."""
    found = EXPLAIN.match(text)
    if not found:
        return "", text
    options = f"({found['options']}) " if found["options"] else ""
    return f"EXPLAIN {'ANALYZE ' if found['analyze'] else ''}{options}", text[found.end() :]


def check(con: duckdb.DuckDBPyConnection, question: str) -> None:
    """Raises QuestionRefused unless the text is one question that reads nothing but the views."""
    kinds = [statement.type for statement in duckdb.extract_statements(question)]
    if len(kinds) != 1 or kinds[0] not in ASKS:
        raise QuestionRefused(
            "the query must be one SELECT (or FROM, WITH, DESCRIBE, SHOW, SUMMARIZE, PIVOT, EXPLAIN)"
        )
    tree = json.loads(con.execute("SELECT json_serialize_sql(?::VARCHAR)", [question]).fetchall()[0][0])
    if tree["error"]:
        wrong = spelled(con, question)  # DuckDB shows no tree of a PIVOT
    else:
        wrong = {*doings(tree), *(called(tree) - allowed(con))}
    if wrong:
        raise QuestionRefused(
            f"the query may only read the store's tables and views, and {', '.join(sorted(wrong))} could do more: "
            "leave it out (`SHOW TABLES` lists what there is to ask)"
        )


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a syntax tree."""
    if isinstance(tree, dict):
        yield tree
    for one in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from nodes(one)


def doings(tree: Any) -> set[str]:
    """What the queries in a syntax tree do beyond selecting: COPY, INSERT …"""
    kinds = {str(node.get("type")) for node in nodes(tree)}
    return {kind.partition("_")[0] for kind in kinds if kind.endswith("_NODE") and kind not in SELECTS}


def called(tree: Any) -> set[str]:
    """The table functions that a syntax tree calls."""
    calls = [node["function"] for node in nodes(tree) if node.get("type") == "TABLE_FUNCTION"]
    return {str(call.get("function_name")).lower() for call in calls}


def allowed(con: duckdb.DuckDBPyConnection) -> set[str]:
    """Table functions that a question may call: harmless ones of DuckDB, and the store's own macros."""
    query = (
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN ('table', 'table_macro') "
        "AND (NOT internal OR function_name LIKE 'duckdb\\_%' ESCAPE '\\')"
    )
    return {name for (name,) in con.sql(query).fetchall()} | FUNCTIONS


def spelled(con: duckdb.DuckDBPyConnection, question: str) -> set[str]:
    """Words of a text, wherever they stand, that could do more than read: stricter than a look at a syntax tree."""
    query = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table'"
    doubtful = {name for (name,) in con.sql(query).fetchall()} - allowed(con)
    return {word for word in re.findall(r"\w+", question.lower()) if word in doubtful or word in WRITES}


def lock(con: duckdb.DuckDBPyConnection, files: Sequence[str]) -> None:
    """Leaves a connection these files, and nothing else of the machine."""
    named = sorted({*files, *map(views.exactly, files)})  # it asks for the pattern, then for what matches
    con.execute(f"SET allowed_paths = [{', '.join(map(views.literal, named))}]")
    con.execute(
        "SET autoload_known_extensions = false; SET enable_external_access = false; SET lock_configuration = true"
    )
