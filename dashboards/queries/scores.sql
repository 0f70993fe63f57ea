-- How did the newest evaluation of a checkpoint score each task, metric and subset? (Of single tasks see task_scores.)
SELECT evaluation_id, task, metric, subset, value, low, high, n, recorded_at, snapshot
FROM evaluations
WHERE checkpoint_id = $checkpoint
  AND evaluation_id = (SELECT evaluation_id FROM evaluations WHERE checkpoint_id = $checkpoint
                         AND NOT starts_with(evaluation_id, 'task-')
                       ORDER BY recorded_at DESC, evaluation_id DESC LIMIT 1)
ORDER BY task, subset <> 'all', subset, metric <> 'exact', metric
