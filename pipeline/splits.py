"""Sticky splits: what belongs together (near-copies of a picture, rows of a document) is on one side.

A new cluster's split is drawn by the hash of its first member and the seed; held-out sources are `test`.
Rows that join an existing cluster share its split. When a row joins clusters of different splits, held-out
wins: test over validation over train. No row ever changes its split: no training row becomes a test row.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from pipeline.matching import components
from pipeline.stage import counted, decision_rows
from pipeline.step import digest
from storage import parts
from storage.settings import Settings
from storage.store import Store

STAGE = "split"


class Splits(Settings):
    """What share of the clusters goes where."""

    validation: float = Field(0.02, ge=0, lt=1, description="Share of clusters held out for tuning.")
    test: float = Field(0.02, ge=0, lt=1, description="Share of clusters held out for the last word.")
    seed: int = Field(0, ge=0, description="Another seed draws other clusters, for rows not yet assigned.")

    @model_validator(mode="after")
    def _leaves_some(self) -> Splits:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave nothing to train on")
        return self


def assign(db: duckdb.DuckDBPyConnection, candidates: str, settings: Splits) -> pa.Table:
    """sample_id, cluster_id, split of the rows of the relation `candidates`; none of them has a split yet."""
    bonds = {"fresh": _bonds("fresh"), "placed": _bonds("placed")}
    edges = db.sql(_EDGES.format(candidates=candidates, **bonds)).to_arrow_table()
    node, bond = (edges[name].to_numpy() for name in ("node", "bond"))
    names, places = np.unique(np.concatenate([node, bond]), return_inverse=True)
    labels = components(len(names), *np.split(places, 2))
    db.register("components", pa.table({"node": names, "component": labels}))
    bounds = {"test": settings.test, "validation": settings.test + settings.validation}
    return db.sql(_DRAWN.format(seed=settings.seed, candidates=candidates, **bounds)).to_arrow_table()


def assign_all(store: Store, settings: Splits) -> int:
    """Gives every kept row without a split one, and commits them; returns how many.

    Training rows that now hang together with a held-out row are dropped, by a decision of the stage `split`:
    no later snapshot holds them, and no snapshot changes.
    """
    with store.connect() as db:
        db.execute(
            "CREATE TEMP TABLE unsplit AS SELECT sample_id FROM verdicts WHERE kept "
            "AND sample_id NOT IN (SELECT sample_id FROM splits)"
        )
        count, mark = counted(db, "unsplit")
        if not count:
            return 0
        rows = assign(db, "unsplit", settings)
        lost = overtaken(db, rows)
    key = digest(["splits", settings.model_dump(), mark])
    tables = {"splits": rows}
    if lost.num_rows:
        reason = pa.repeat("contaminated", lost.num_rows)
        tables["decisions"] = decision_rows(
            lost["sample_id"], lost["source"], STAGE, reason, lost["detail"], digest(settings.model_dump())
        )
    parts.stage(store, key, tables)
    parts.commit(store, [key])
    return rows.num_rows


def overtaken(db: duckdb.DuckDBPyConnection, assigned: pa.Table) -> pa.Table:
    """sample_id, source, detail of the training rows that share a picture group or a document with a row
    that was now assigned to `validation` or `test`; the detail names that row."""
    db.register("assigned", assigned)
    return db.sql(_OVERTAKEN).to_arrow_table()


def _bonds(rows: str) -> str:
    """SQL of (node, bond): what each node of a relation (node, image_id, document_id, source) hangs on."""
    picture, document = (
        _number("'g'", "coalesce(group_id, image_id)"),
        _number("'d'", "source", "split_part(document_id, '.', 1)"),  # parts of a long one are one document
    )
    return (
        f"SELECT node, {picture} AS bond FROM {rows} LEFT JOIN groups USING (image_id) "
        f"WHERE image_id IS NOT NULL UNION ALL "
        f"SELECT node, {document} FROM {rows} WHERE document_id IS NOT NULL"
    )


def _number(*words: str) -> str:
    """SQL of a 64-bit number for some words, for one query: of ten million, two collide with a chance of 3 in a million."""
    return f"hash({', '.join(words)})"


_ROW, _CLUSTER = _number("'r'", "sample_id"), _number("'c'", "cluster_id")

_EDGES = f"""
WITH fresh AS (
    SELECT {_ROW} AS node, image_id, document_id, source
    FROM samples SEMI JOIN {{candidates}} USING (sample_id)),
placed AS (
    SELECT {_CLUSTER} AS node, image_id, document_id, source FROM samples JOIN splits USING (sample_id)),
fresh_bonds AS ({{fresh}}),
placed_bonds AS ({{placed}})
SELECT node, node AS bond FROM fresh UNION ALL
SELECT node, bond FROM fresh_bonds UNION ALL
SELECT DISTINCT node, bond FROM placed_bonds SEMI JOIN fresh_bonds USING (bond)
"""
"""New rows and standing clusters, tied to their picture groups and documents. Of the rows placed before only
those matter that share a bond with a new one: a cluster is closed, so it counts as one node."""

_DRAWN = f"""
WITH members AS (
    SELECT component, sample_id, coalesce(held_out, false) AS held_out
    FROM samples SEMI JOIN {{candidates}} USING (sample_id) JOIN components ON node = {_ROW}),
standing AS (
    SELECT component, min_by(cluster_id, (rank, cluster_id)) AS cluster_id, min(rank) AS rank FROM (
        SELECT cluster_id, min(CASE split WHEN 'test' THEN 0 WHEN 'validation' THEN 1 ELSE 2 END) AS rank
        FROM splits GROUP BY cluster_id)
    JOIN components ON node = {_CLUSTER} GROUP BY component),
clusters AS (
    SELECT component, coalesce(any_value(standing.cluster_id), min(m.sample_id)) AS cluster_id,
           any_value(rank) AS rank, bool_or(held_out) AS held
    FROM members m LEFT JOIN standing USING (component) GROUP BY component),
drawn AS (
    SELECT *, md5_number_lower(cluster_id || chr(31) || '{{seed}}') / 18446744073709551616.0 AS u
    FROM clusters)
SELECT sample_id, cluster_id,
       CASE WHEN held OR rank = 0 OR (rank IS NULL AND u < {{test}}) THEN 'test'
            WHEN rank = 1 OR (rank IS NULL AND u < {{validation}}) THEN 'validation'
            ELSE 'train' END AS split
FROM members JOIN drawn USING (component) ORDER BY sample_id
"""
"""A component's cluster and split: the standing one, else drawn by its first member."""

_OVERTAKEN = f"""
WITH guards AS (
    SELECT sample_id AS node, image_id, document_id, source FROM samples
    JOIN (SELECT sample_id FROM assigned WHERE split <> 'train') USING (sample_id)),
trained AS (
    SELECT sample_id AS node, image_id, document_id, source FROM samples
    JOIN (SELECT sample_id FROM splits WHERE split = 'train') USING (sample_id)),
guarded AS (SELECT bond, min(node) AS detail FROM ({_bonds("guards")}) GROUP BY bond)
SELECT node AS sample_id, any_value(source) AS source, min(detail) AS detail
FROM ({_bonds("trained")}) JOIN guarded USING (bond) JOIN samples ON sample_id = node
GROUP BY node ORDER BY node
"""
