"""Sticky splits: what belongs together (near-copies of a picture, rows of a document) is never on two sides.

A new cluster's split is drawn by the hash of its first member and the seed; held-out sources are always `test`.
Rows that join an existing cluster share its split. When a row joins clusters of different splits, held-out wins:
test over validation over train. No row ever changes its split, so a training row never becomes a test row.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.matching import components
from pipeline.step import digest
from storage import parts
from storage.store import Store


class Splits(BaseModel):
    """What share of the clusters goes where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation: float = Field(0.02, ge=0, lt=1, description="Share of clusters held out for tuning.")
    test: float = Field(0.02, ge=0, lt=1, description="Share of clusters held out for the last word.")
    seed: int = Field(0, ge=0, description="Another seed draws other clusters, for rows not yet assigned.")

    @model_validator(mode="after")
    def _leaves_some(self) -> Splits:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave nothing to train on")
        return self


def assign(db: duckdb.DuckDBPyConnection, candidates: str, settings: Splits) -> pa.Table:
    """sample_id, cluster_id, split of the rows of the relation `candidates(sample_id)`, none of which has a split yet."""
    db.execute(_JOINED.format(candidates=candidates))
    edges = db.sql("SELECT node, bond FROM numbered").to_arrow_table()
    node, bond = (edges[name].to_numpy().astype(np.int64) for name in ("node", "bond"))
    count = int(max(node.max(), bond.max())) + 1 if len(node) else 0
    db.register(
        "components", pa.table({"node": np.arange(count), "component": components(count, node, bond)})
    )
    bounds = {"test": settings.test, "validation": settings.test + settings.validation}
    return db.sql(_DRAWN.format(seed=settings.seed, **bounds)).to_arrow_table()


def assign_all(store: Store, settings: Splits) -> int:
    """Gives every kept row without a split one, and commits them; returns how many."""
    with store.connect() as db:
        db.execute(
            "CREATE TEMP TABLE unsplit AS SELECT sample_id FROM verdicts WHERE kept "
            "AND sample_id NOT IN (SELECT sample_id FROM splits)"
        )
        rows = assign(db, "unsplit", settings)
    if not rows.num_rows:
        return 0
    key = digest(["splits", settings.model_dump(), rows["sample_id"].to_pylist()])
    parts.stage(store, key, {"splits": rows})
    parts.commit(store, [key])
    return rows.num_rows


_JOINED = """
CREATE OR REPLACE TEMP TABLE bonds AS
WITH fresh AS (SELECT s.sample_id, s.image_id, s.document_id, s.source FROM samples s SEMI JOIN {candidates} USING (sample_id)),
placed AS (SELECT s.sample_id, s.image_id, s.document_id, s.source, p.cluster_id FROM samples s JOIN splits p USING (sample_id)),
every AS (
    SELECT 'r' || sample_id AS node, image_id, document_id, source, NULL AS cluster_id FROM fresh
    UNION ALL SELECT 'c' || cluster_id, image_id, document_id, source, cluster_id FROM placed),
held_by AS (
    SELECT node, 'g' || coalesce(g.group_id, e.image_id) AS bond, cluster_id FROM every e LEFT JOIN groups g USING (image_id)
    WHERE e.image_id IS NOT NULL
    UNION ALL SELECT node, 'd' || source || chr(31) || document_id, cluster_id FROM every WHERE document_id IS NOT NULL
    UNION ALL SELECT node, node, NULL FROM every WHERE cluster_id IS NULL)
SELECT DISTINCT node, bond FROM held_by h
WHERE cluster_id IS NULL OR bond IN (SELECT bond FROM held_by WHERE cluster_id IS NULL);
CREATE OR REPLACE TEMP TABLE nodes AS
SELECT name, row_number() OVER (ORDER BY name) - 1 AS node FROM (SELECT node AS name FROM bonds UNION SELECT bond FROM bonds);
CREATE OR REPLACE TEMP TABLE numbered AS
SELECT a.node, b.node AS bond FROM bonds JOIN nodes a ON a.name = bonds.node JOIN nodes b ON b.name = bonds.bond;
"""
"""Rows and existing clusters (nodes), tied by picture groups and documents (bonds). Of the rows placed before, only
those that share a bond with a new row matter: a cluster is closed, so it counts as one node."""

_DRAWN = """
WITH members AS (
    SELECT component, substr(name, 2) AS sample_id FROM nodes JOIN components USING (node) WHERE name LIKE 'r%'),
standing AS (
    SELECT component, min_by(cluster_id, (rank, cluster_id)) AS cluster_id, min(rank) AS rank FROM (
        SELECT component, cluster_id,
               min(CASE split WHEN 'test' THEN 0 WHEN 'validation' THEN 1 ELSE 2 END) AS rank
        FROM nodes JOIN components USING (node) JOIN splits ON name = 'c' || cluster_id
        WHERE name LIKE 'c%' GROUP BY ALL)
    GROUP BY component),
clusters AS (
    SELECT component, coalesce(any_value(standing.cluster_id), min(m.sample_id)) AS cluster_id,
           any_value(rank) AS rank, bool_or(coalesce(held_out, false)) AS held
    FROM members m JOIN samples s USING (sample_id) LEFT JOIN standing USING (component) GROUP BY component),
drawn AS (
    SELECT *, md5_number_lower(cluster_id || chr(31) || '{seed}') / 18446744073709551616.0 AS u FROM clusters)
SELECT sample_id, cluster_id,
       CASE WHEN held OR rank = 0 OR (rank IS NULL AND u < {test}) THEN 'test'
            WHEN rank = 1 OR (rank IS NULL AND u < {validation}) THEN 'validation'
            ELSE 'train' END AS split
FROM members JOIN drawn USING (component) ORDER BY sample_id
"""
"""A component's cluster and split: the standing one, else drawn by its first member."""
