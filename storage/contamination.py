"""Whether training rows are held-out ones: the same picture or a near-copy (its group), or the same text.

Held-out are the rows of sources that a configuration marks `held_out`: evaluation sets. Texts are compared among rows
without a picture: that two pictures share a caption is no leak.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from storage.errors import SnapshotContaminated

if TYPE_CHECKING:
    from storage.store import Store

LEAST_CHARACTERS = 8
"""Shorter texts, prompt included, are nobody's own."""
SHOWN = 3
"""Evaluation sets that a message names."""

ADD = 'Add [[gathers]] use = "gathers.decontaminate" to the configuration, after gathers.near_duplicates.'
"""What to do where nothing drops such rows."""
DROPPED = "The configuration's gathers.decontaminate drops such rows."
"""What to say where it would, and rows were chosen before or elsewhere."""


def folded(column: str) -> str:
    """SQL of a text's key: case, white space, composition and the full stop at its end do not count."""
    lower = f"lower(nfc_normalize({column}))"
    return f"trim(regexp_replace(regexp_replace({lower}, '\\s+', ' ', 'g'), '[ .。．!！]+$', ''))"


def says(least: int = LEAST_CHARACTERS) -> tuple[str, str]:
    """SQL of a row's text with its prompt as one number, and of whether it has a text of its own to compare."""
    key = f"concat_ws(chr(31), coalesce({folded('prompt')}, ''), {folded('text')})"
    return f"md5_number({key})", f"image_id IS NULL AND text IS NOT NULL AND length({key}) > {least}"


def leaks(db: duckdb.DuckDBPyConnection, trained: str) -> list[dict[str, Any]]:
    """Of a relation of training rows (sample_id): evaluation set, how they match, and how many rows; most first.

    The sides are compared as numbers of 128 bits, which DuckDB keeps on disk where they do not fit.
    """
    key, comparable = says()
    grouped = "s LEFT JOIN groups g USING (image_id)"
    query = f"""
        WITH rows AS (SELECT sample_id, source, image_id, prompt, text, held_out FROM samples),
        held AS (SELECT * FROM rows WHERE held_out),
        trained AS (SELECT * FROM rows SEMI JOIN ({trained}) USING (sample_id) WHERE NOT coalesce(held_out, false)),
        pictures AS (SELECT coalesce(g.group_id, s.image_id) AS bond, min(source) AS evaluation_set
                     FROM held {grouped} WHERE s.image_id IS NOT NULL GROUP BY 1),
        texts AS (SELECT {key} AS bond, min(source) AS evaluation_set FROM held WHERE {comparable} GROUP BY 1),
        found AS (
            SELECT sample_id, 'picture' AS what, evaluation_set FROM trained {grouped}
            JOIN pictures ON bond = coalesce(g.group_id, s.image_id)
            UNION ALL
            SELECT sample_id, 'text', evaluation_set
            FROM (SELECT sample_id, {key} AS bond FROM trained WHERE {comparable}) JOIN texts USING (bond))
        SELECT evaluation_set, what, count(*) AS rows FROM found GROUP BY ALL ORDER BY rows DESC, 1, 2
    """
    [(any_held,)] = db.sql("SELECT count(*) FROM samples WHERE held_out").fetchall()
    return db.sql(query).to_arrow_table().to_pylist() if any_held else []


def refuse(found: Sequence[dict[str, Any]], what: str, remedy: str = ADD) -> None:
    """Raises SnapshotContaminated if training rows are held-out ones; `remedy` says what to change."""
    if not found:
        return
    named = ", ".join(
        f"{one['rows']:,} share a {one['what']} with {one['evaluation_set']}" for one in found[:SHOWN]
    )
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    rows = sum(one["rows"] for one in found)
    raise SnapshotContaminated(
        f"{what} would train on held-out rows: of {rows:,}, {named}{more}. {remedy} "
        "Then run `millrace ingest` again; or take them knowingly: [decontaminate] allow = true, or --allow-contaminated"
    )


def run_id(snapshot: str) -> str:
    return f"contaminated-{snapshot}"


def record(store: Store, snapshot: str, found: Sequence[dict[str, Any]]) -> None:
    """Writes down in `runs`, once for a snapshot, that its held-out rows were taken knowingly."""
    row = {
        "run_id": run_id(snapshot), "kind": "snapshot", "state": "contaminated", "snapshot": snapshot,
        "config": json.dumps({"allowed": True, "contaminated": list(found)}), "recorded_at": datetime.now(UTC),
    }  # fmt: skip
    store.append("runs", pa.Table.from_pylist([row]), parts=[run_id(snapshot)])


def recorded(store: Store, snapshot: str) -> list[dict[str, Any]]:
    """What was written down about a snapshot; nothing if it is clean."""
    rows = store.read("runs", ["run_id", "config"]).to_pylist()
    return next(
        (json.loads(row["config"])["contaminated"] for row in rows if row["run_id"] == run_id(snapshot)), []
    )
