"""catalog.duckdb: every view in one file that any DuckDB opens, while flows go on writing.

A DuckDB file admits one writer and then no reader, so this one is derived: built under a scratch name over
the files of pinned versions, and swapped in. Deleting it loses nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import duckdb

from storage import views
from storage.errors import translated
from storage.store import Store
from storage.tables import TABLES

FILE = "catalog.duckdb"
OLDEST_READER = "v1.0.0"
"""The oldest DuckDB that can open it: command lines and drivers of BI tools lag behind the library."""


def rebuild(store: Store) -> Path:
    """Builds the catalog over the newest versions and swaps it in; returns its path.

    Raises:
        StoreFull: no room; the catalog that was there stays.
    """
    target = store.path / FILE
    scratch = store.path / f".{FILE}.{os.getpid()}"
    remove(scratch)
    try:
        with translated("catalog"):
            con = duckdb.connect(scratch, config={"storage_compatibility_version": OLDEST_READER})
            try:
                store.home.admit(con)
                con.execute("LOAD icu; SET TimeZone = 'UTC'")
                for statement in [*store.view_statements(store.versions()), *comments(store)]:
                    con.execute(statement)
                con.execute("CHECKPOINT")
            finally:
                con.close()
            scratch.replace(target)
    finally:
        remove(scratch)
    return target


def stale(store: Store) -> bool:
    """Whether there is a catalog, and a table has changed since: its views may name files that are gone."""
    file = store.path / FILE
    if not file.exists():
        return False
    if store.home.remote:  # a bucket's clock is not ours
        return True
    newest = [
        store.path / "tables" / table / "_delta_log" / f"{version:020}.json"
        for table, version in store.versions().items()
    ]
    built = file.stat().st_mtime_ns
    return any(commit.stat().st_mtime_ns >= built for commit in newest)


def refresh(store: Store) -> None:
    """Writes a catalog that is there anew if a table has changed since; makes none."""
    if stale(store):
        rebuild(store)


def comments(store: Store) -> list[str]:
    """COMMENT ON for each view, column and macro, from the sentences beside their definitions."""
    made = []
    for table in (*TABLES.values(), *store.declared()):
        columns = {column.name: views.described(column) for column in table.columns}
        made += on_view(table.name, table.doc or f"What {table.name} found.", columns)
    for view in (*views.derived(store.declared()), *views.OVERVIEW):
        if view.takes:
            made.append(f"COMMENT ON MACRO TABLE {views.name(view.name)} IS {views.literal(view.doc)}")
        else:
            made += on_view(view.name, view.doc, view.columns)
    return made


def on_view(name: str, doc: str, columns: Mapping[str, str]) -> list[str]:
    """COMMENT ON for a view and its columns."""
    place = views.name(name)
    return [
        f"COMMENT ON VIEW {place} IS {views.literal(doc)}",
        *(
            f"COMMENT ON COLUMN {place}.{views.name(one)} IS {views.literal(said)}"
            for one, said in columns.items()
        ),
    ]


def remove(scratch: Path) -> None:
    """Removes a scratch file and its log."""
    for file in (scratch, scratch.with_name(scratch.name + ".wal")):
        file.unlink(missing_ok=True)
