-- How did the newest evaluation of each single task score a checkpoint?
SELECT evaluation_id, task, metric, subset, value, low, high, n, recorded_at, snapshot
FROM evaluations
WHERE checkpoint_id = $checkpoint AND starts_with(evaluation_id, 'task-')
QUALIFY evaluation_id = first_value(evaluation_id) OVER (PARTITION BY task ORDER BY recorded_at DESC, evaluation_id DESC)
ORDER BY task, subset <> 'all', subset, metric
