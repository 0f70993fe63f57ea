"""Which rows made this checkpoint, and which checkpoints saw this row.

    checkpoint → its run and snapshot → the snapshot's members, and how often the run's batches held them
    sample → its decisions, the snapshots that hold it, the steps that read it, the checkpoints after them

The same as SQL in every connection: the views `trained_on` and `snapshot_members`, and the table macros
`checkpoint_rows('id')` and `sample_history('id')`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from storage.errors import LineageNotFound

if TYPE_CHECKING:
    from storage.store import Store

STATEMENTS = (
    # members that a snapshot refers to: an attempt that was killed leaves others
    """
    CREATE VIEW snapshot_members AS
    SELECT m.snapshot, m.sample_id, m.split, s.recorded_at AS snapshot_at, s.content_hash
    FROM members m JOIN snapshots s
      ON m.snapshot = s.snapshot AND m.part = s.snapshot || '@' || left(s.content_hash, 16)
    """,
    """
    CREATE VIEW trained_on AS
    SELECT DISTINCT run_id, step, slot, unnest(sample_ids) AS sample_id FROM batch_plan
    """,
    """
    CREATE MACRO checkpoint_rows(checkpoint) AS TABLE
    WITH this AS (SELECT * FROM checkpoints WHERE checkpoint_id = checkpoint LIMIT 1),
         seen AS (SELECT t.sample_id, count(*) AS times_seen FROM trained_on t JOIN this c
                  ON t.run_id = c.run_id AND t.step <= c.step GROUP BY 1)
    SELECT c.checkpoint_id, c.run_id, m.snapshot, m.sample_id, m.split,
           s.source, s.origin, s.licence, s.author, s.image_id, coalesce(seen.times_seen, 0) AS times_seen
    FROM this c JOIN snapshot_members m USING (snapshot)
         LEFT JOIN samples s USING (sample_id) LEFT JOIN seen USING (sample_id)
    ORDER BY m.sample_id
    """,
    """
    CREATE MACRO sample_history(sample) AS TABLE
    SELECT * FROM (
        SELECT 1 AS place, 'decision' AS what, stage AS name,
               CASE WHEN kept THEN 'kept' ELSE coalesce(reason, 'dropped') END AS detail, NULL::BIGINT AS step
        FROM decisions WHERE sample_id = sample
        UNION ALL
        SELECT 2, 'snapshot', snapshot, split, NULL FROM snapshot_members WHERE sample_id = sample
        UNION ALL
        SELECT 3, 'training step', run_id, 'slot ' || slot, step FROM trained_on WHERE sample_id = sample
        UNION ALL
        SELECT DISTINCT 4, 'checkpoint', c.checkpoint_id, 'run ' || c.run_id, c.step
        FROM checkpoints c JOIN trained_on t ON t.run_id = c.run_id AND t.step <= c.step
        WHERE t.sample_id = sample
    ) ORDER BY place, name, step
    """,
)


def checkpoint(store: Store, checkpoint_id: str) -> pa.Table:
    """Every row of the snapshot that a checkpoint was trained on: split, source, licence, times seen.

    Raises:
        LineageNotFound: no such checkpoint.
    """
    with store.connect() as con:
        found = con.execute("SELECT 1 FROM checkpoints WHERE checkpoint_id = ?", [checkpoint_id]).fetchall()
        if not found:
            raise LineageNotFound(
                f"no checkpoint {checkpoint_id!r} in {store.path}: `millrace stats` lists them"
            )
        return con.sql("FROM checkpoint_rows(?)", params=[checkpoint_id]).to_arrow_table()


def sample(store: Store, sample_id: str) -> dict[str, Any]:
    """A row with its decisions, snapshots, training steps and checkpoints.

    Raises:
        LineageNotFound: no such sample.
    """
    with store.connect() as con:
        row = (
            con.sql("SELECT * FROM samples WHERE sample_id = ?", params=[sample_id])
            .to_arrow_table()
            .to_pylist()
        )
        history = con.sql("FROM sample_history(?)", params=[sample_id]).to_arrow_table().to_pylist()
    if not row and not history:
        raise LineageNotFound(f"no sample {sample_id!r} in {store.path}")
    groups: dict[str, list[dict[str, Any]]] = {
        "decision": [], "snapshot": [], "training step": [], "checkpoint": [],
    }  # fmt: skip
    for one in history:
        groups[one.pop("what")].append(one)
    return {
        "sample": row[0] if row else None,
        "decisions": [{"stage": one["name"], "outcome": one["detail"]} for one in groups["decision"]],
        "snapshots": [{"snapshot": one["name"], "split": one["detail"]} for one in groups["snapshot"]],
        "steps": [{"run_id": one["name"], "step": one["step"]} for one in groups["training step"]],
        "checkpoints": [{"checkpoint_id": one["name"], "step": one["step"]} for one in groups["checkpoint"]],
    }
