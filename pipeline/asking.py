"""SQL that the gathers share: when two texts are the same, and a decision on every candidate."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from storage.contamination import folded

__all__ = ["decisions", "folded"]


def decisions(db: duckdb.DuckDBPyConnection, drops: str) -> pa.Table:
    """sample_id, kept, reason, detail of every candidate; `drops` is SQL of (sample_id, reason, detail)."""
    return db.sql(
        "SELECT sample_id, d.reason IS NULL AS kept, d.reason, d.detail FROM candidates "
        f"LEFT JOIN ({drops}) d USING (sample_id) ORDER BY sample_id"
    ).to_arrow_table()
