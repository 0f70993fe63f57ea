"""How training goes and which model is the best: `FROM run_curve('run')`, `FROM leaderboard`."""

from __future__ import annotations

from storage.derived import View
from storage.tables import CHECKPOINT_ID, RUN_ID

RUN_CURVE = View(
    "run_curve",
    "Every figure that a run measured, step by step; where a step was done twice after a kill, the last time counts.",
    {
        "name": "loss_text, loss_image, tokens_per_second …",
        "step": "Optimizer step.",
        "value": "Value.",
        "seconds": "Since the run's first figure. [s]",
    },
    """
SELECT name, step, arg_max(value, recorded_at) AS value,
       epoch(max(recorded_at) - min(min(recorded_at)) OVER ()) AS seconds
FROM metrics WHERE run_id = run GROUP BY name, step ORDER BY name, step
""",
    takes=("run",),
)

LEADERBOARD = View(
    "leaderboard",
    "Checkpoints by the score of their newest evaluation, for each task and snapshot whose held-out rows were asked.",
    {
        "task": "caption, vqa …",
        "metric": "What is scored: exact where there is such a score, else the task's first by name that is no baseline's.",
        "snapshot": "Whose held-out rows were asked: scores on others cannot be compared.",
        "place": "1 for the best; equal scores share a place.",
        "checkpoint_id": CHECKPOINT_ID.doc,
        "champion": "Whether it is the one that was promoted.",
        "value": "Score over all items.",
        "low": "2.5% bootstrap bound.",
        "high": "97.5% bootstrap bound.",
        "n": "Items. [items]",
        "run_id": RUN_ID.doc,
        "step": "Optimizer steps done.",
        "parameters": "Trained parameters.",
        "recorded_at": "When it was evaluated. [UTC]",
    },
    """
WITH newest AS (
    SELECT * FROM evaluations WHERE subset = 'all' AND isfinite(value)
    QUALIFY row_number() OVER (PARTITION BY checkpoint_id, snapshot, task, metric
                               ORDER BY recorded_at DESC, evaluation_id DESC) = 1),
baselines AS (  -- first_sentence_chrf beside chrf, chance_image_of_text@1 beside image_of_text@1
    SELECT DISTINCT b.task, b.metric FROM newest b JOIN newest o ON o.task = b.task AND ends_with(b.metric, '_' || o.metric)),
chosen AS (
    SELECT task, min_by(metric, (metric <> 'exact', metric)) AS metric
    FROM newest ANTI JOIN baselines USING (task, metric) GROUP BY task),
saved AS (FROM checkpoints QUALIFY row_number() OVER (PARTITION BY checkpoint_id ORDER BY recorded_at DESC) = 1)
SELECT e.task, e.metric, e.snapshot, rank() OVER (PARTITION BY e.task, e.snapshot ORDER BY e.value DESC) AS place,
       e.checkpoint_id, e.checkpoint_id IN (SELECT checkpoint_id FROM champion) AS champion, e.value, e.low, e.high, e.n,
       c.run_id, c.step, c.parameters, e.recorded_at
FROM newest e JOIN chosen USING (task, metric) LEFT JOIN saved c USING (checkpoint_id)
ORDER BY e.task, e.snapshot, place, e.recorded_at DESC, e.checkpoint_id
""",
)

VIEWS = (RUN_CURVE, LEADERBOARD)
