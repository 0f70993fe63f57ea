"""Lineage as SQL: which rows a snapshot holds and a step read, what a checkpoint saw, what became of a row.

FROM checkpoint_about('id')      FROM checkpoint_counts('id')      FROM checkpoint_rows('id')      FROM sample_history('id')
"""

from __future__ import annotations

from storage.derived import View
from storage.tables import CHECKPOINT_ID, RUN_ID, SAMPLE_ID

SNAPSHOT = "Name of the snapshot."

SNAPSHOT_MEMBERS = View(
    "snapshot_members",
    "Rows of each committed snapshot, with their split.",
    {
        "snapshot": SNAPSHOT,
        "sample_id": SAMPLE_ID.doc,
        "split": "train, validation or test.",
        "snapshot_at": "When the snapshot was committed. [UTC]",
        "content_hash": "Hash of all that a run may read through the snapshot.",
    },
    # members that a snapshot refers to: an attempt that was killed leaves others
    """
SELECT m.snapshot, m.sample_id, m.split, s.recorded_at AS snapshot_at, s.content_hash
FROM members m JOIN snapshots s
  ON m.snapshot = s.snapshot AND m.part = s.snapshot || '@' || left(s.content_hash, 16)
""",
)

TRAINED_ON = View(
    "trained_on",
    "One row per sample and batch slot of every training step.",
    {
        "run_id": RUN_ID.doc,
        "step": "Optimizer step; the first is 0.",
        "slot": "Row of the batch.",
        "sample_id": SAMPLE_ID.doc,
    },
    "SELECT DISTINCT run_id, step, slot, unnest(sample_ids) AS sample_id FROM batch_plan",
)

AFFECTED = View(
    "affected",
    "Snapshots that held rows that were forgotten, and checkpoints whose batches did.",
    {
        "request_id": "The takedown.",
        "recorded_at": "When it was complete. [UTC]",
        "what": "snapshot or checkpoint.",
        "name": "Which one.",
        "amended_by": "The snapshot that replaced it.",
        "run_id": "The run that made a checkpoint.",
        "step": "Optimizer steps that were done.",
    },
    """
SELECT request_id, recorded_at, 'snapshot' AS what, one.key AS name, one.value ->> '$' AS amended_by,
       NULL AS run_id, NULL::BIGINT AS step
FROM forgotten, json_each(affected, '$.snapshots') one
UNION ALL
SELECT request_id, recorded_at, 'checkpoint', one.value ->> 'checkpoint_id', NULL, one.value ->> 'run_id',
       (one.value ->> 'step')::BIGINT
FROM forgotten, json_each(affected, '$.checkpoints') one
""",
)

CHECKPOINT_ABOUT = View(
    "checkpoint_about",
    "A checkpoint's run with settings and code, its snapshot, its evaluations and exports, as one row.",
    {
        "checkpoint_id": CHECKPOINT_ID.doc,
        "run_id": RUN_ID.doc,
        "step": "Optimizer steps done.",
        "parameters": "Trained parameters.",
        "recorded_at": "When it was saved. [UTC]",
        "path": "Folder, relative to the store; null once it was pruned.",
        "snapshot": "What it was trained on.",
        "content_hash": "Hash of all that a run may read through the snapshot.",
        "rows": "Members of the snapshot. [rows]",
        "snapshot_at": "When the snapshot was committed. [UTC]",
        "text_tokenizer": "Id.",
        "image_tokenizer": "Id.",
        "amended_by": "The snapshot that replaced it after a takedown.",
        "state": "How the run stands: started, finished or failed.",
        "started_at": "When the run began. [UTC]",
        "code_version": "Commit or package version.",
        "config": "JSON of the run's settings.",
        "evaluations": "Ids of its evaluations.",
        "exports": "Folders that it was exported to, the oldest first.",
    },
    """
WITH run AS (
    SELECT run_id, max_by(state, recorded_at) AS state, min(recorded_at) AS started_at,
           any_value(config) AS config, any_value(code_version) AS code_version
    FROM runs WHERE kind = 'train' GROUP BY 1),
frozen AS (FROM snapshots QUALIFY row_number() OVER (PARTITION BY snapshot ORDER BY recorded_at DESC) = 1)
SELECT c.checkpoint_id, c.run_id, c.step, c.parameters, c.recorded_at, c.path, c.snapshot, s.content_hash, s.rows,
       s.recorded_at AS snapshot_at, s.text_tokenizer, s.image_tokenizer, s.amended_by,
       r.state, r.started_at, r.code_version, r.config,
       (SELECT coalesce(list(DISTINCT evaluation_id ORDER BY evaluation_id), [])
        FROM evaluations WHERE checkpoint_id = checkpoint) AS evaluations,
       (SELECT coalesce(list(config ->> 'folder' ORDER BY recorded_at), [])
        FROM runs WHERE kind = 'export' AND config ->> 'checkpoint' = checkpoint) AS exports
FROM checkpoints c LEFT JOIN frozen s USING (snapshot) LEFT JOIN run r USING (run_id)
WHERE c.checkpoint_id = checkpoint ORDER BY c.recorded_at DESC LIMIT 1
""",
    takes=("checkpoint",),
)

CHECKPOINT_ROWS = View(
    "checkpoint_rows",
    "Every row of the snapshot that a checkpoint was trained on, and how often its batches held it until then.",
    {
        "checkpoint_id": CHECKPOINT_ID.doc,
        "run_id": RUN_ID.doc,
        "snapshot": SNAPSHOT,
        "sample_id": SAMPLE_ID.doc,
        "split": "train, validation or test.",
        "source": "Name of the source.",
        "origin": "Stable key within the source.",
        "licence": "SPDX id, or as the source states it.",
        "author": "Whom to credit.",
        "image_id": "The stored picture.",
        "times_seen": "Rows of batches that held it.",
    },
    # a plan's first step is 0, and a checkpoint counts the steps that were done
    """
WITH this AS (SELECT * FROM checkpoints WHERE checkpoint_id = checkpoint ORDER BY recorded_at DESC LIMIT 1),
     seen AS (SELECT t.sample_id, count(*) AS times_seen FROM trained_on t JOIN this c
              ON t.run_id = c.run_id AND t.step < c.step GROUP BY 1)
SELECT c.checkpoint_id, c.run_id, m.snapshot, m.sample_id, m.split,
       s.source, s.origin, s.licence, s.author, s.image_id, coalesce(seen.times_seen, 0) AS times_seen
FROM this c JOIN snapshot_members m USING (snapshot)
     LEFT JOIN samples s USING (sample_id) LEFT JOIN seen USING (sample_id)
ORDER BY m.sample_id
""",
    takes=("checkpoint",),
)

CHECKPOINT_COUNTS = View(
    "checkpoint_counts",
    "The same, counted by source, licence and split.",
    {
        "source": "Name of the source.",
        "licence": "SPDX id, or as the source states it.",
        "split": "train, validation or test.",
        "rows": "Rows of the snapshot. [rows]",
        "seen": "Those that a batch held. [rows]",
        "times_seen": "How often batches held them.",
    },
    """
SELECT source, licence, split, count(*) AS rows, count(*) FILTER (times_seen > 0) AS seen,
       sum(times_seen)::BIGINT AS times_seen
FROM checkpoint_rows(checkpoint) GROUP BY source, licence, split
ORDER BY split <> 'train', split, rows DESC, source, licence
""",
    takes=("checkpoint",),
)

SAMPLE_HISTORY = View(
    "sample_history",
    "What happened to one row, in order: decisions, snapshots, training steps, checkpoints.",
    {
        "place": "1 to 4, by kind.",
        "what": "decision, snapshot, training step or checkpoint.",
        "name": "The stage, snapshot, run or checkpoint.",
        "detail": "kept or the reason; the split; the slot; the run.",
        "step": "Optimizer step.",
        "slot": "Row of the batch.",
        "more": "Detail of a decision, hash of a snapshot, snapshot of a checkpoint.",
        "times_seen": "How often batches held it until that checkpoint.",
    },
    """
WITH steps AS (SELECT run_id, step, slot FROM trained_on WHERE sample_id = sample)
SELECT * FROM (
    SELECT 1 AS place, 'decision' AS what, stage AS name,
           CASE WHEN kept THEN 'kept' ELSE coalesce(reason, 'dropped') END AS detail, NULL::BIGINT AS step,
           NULL::INTEGER AS slot, detail AS more, NULL::BIGINT AS times_seen
    FROM decisions WHERE sample_id = sample
    UNION ALL
    SELECT 2, 'snapshot', snapshot, split, NULL, NULL, content_hash, NULL
    FROM snapshot_members WHERE sample_id = sample
    UNION ALL
    SELECT 3, 'training step', run_id, 'slot ' || slot, step, slot, NULL, NULL FROM steps
    UNION ALL
    SELECT 4, 'checkpoint', c.checkpoint_id, 'run ' || c.run_id, c.step, NULL, c.snapshot, count(*)
    FROM (SELECT DISTINCT checkpoint_id, run_id, step, snapshot FROM checkpoints) c
         JOIN steps t ON t.run_id = c.run_id AND t.step < c.step
    GROUP BY ALL
) ORDER BY place, CASE WHEN what = 'checkpoint' THEN detail ELSE name END, step, slot, name
""",
    takes=("sample",),
)

VIEWS = (
    *(SNAPSHOT_MEMBERS, TRAINED_ON, AFFECTED),
    *(CHECKPOINT_ABOUT, CHECKPOINT_ROWS, CHECKPOINT_COUNTS, SAMPLE_HISTORY),
)
