"""catalog.duckdb: every view in one file that any DuckDB opens, while flows go on writing.

A DuckDB file admits one writer and then no reader, so this one is derived: built under a scratch name over
the files of pinned versions, and swapped in. Deleting it loses nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from storage import views
from storage.errors import translated
from storage.store import Store
from storage.tables import TABLES

FILE = "catalog.duckdb"

ABOUT = {
    "signals": "samples, with every annotator's columns beside them as <annotator>_<column>.",
    "verdicts": "One row per decided sample: kept by every stage, or the stage and reason that dropped it.",
    "funnel": "Per source and stage: rows that came in, were kept, were dropped, and why.",
    "funnel_check": "Per source: came in = kept + dropped, and whether it adds up.",
    "snapshot_members": "Rows of each committed snapshot, with their split.",
    "trained_on": "One row per sample and batch slot of every training step.",
    "affected": "Snapshots that held rows that were forgotten, and checkpoints whose batches did.",
    "champion": "The checkpoint that was promoted last and not taken back: one row, or none.",
}


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
            con = duckdb.connect(scratch)
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


def comments(store: Store) -> list[str]:
    """COMMENT ON for each view and column, from the sentences in storage.tables."""
    made = [f"COMMENT ON VIEW {views.name(one)} IS {views.literal(text)}" for one, text in ABOUT.items()]
    for table in (*TABLES.values(), *store.declared()):
        made.append(f"COMMENT ON VIEW {views.name(table.name)} IS {views.literal(table.doc)}")
        for column in table.columns:
            text = column.doc + (f" [{column.unit}]" if column.unit else "")
            place = f"{views.name(table.name)}.{views.name(column.name)}"
            made.append(f"COMMENT ON COLUMN {place} IS {views.literal(text)}")
    return made


def remove(scratch: Path) -> None:
    """Removes a scratch file and its log."""
    for file in (scratch, scratch.with_name(scratch.name + ".wal")):
        file.unlink(missing_ok=True)
