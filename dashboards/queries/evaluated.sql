-- Which checkpoints were evaluated (single tasks apart), newest evaluation first, and how did they score on all items of each task?
WITH newest AS (
    SELECT checkpoint_id, arg_max(evaluation_id, (recorded_at, evaluation_id)) AS evaluation_id, max(recorded_at) AS recorded_at
    FROM evaluations WHERE NOT starts_with(evaluation_id, 'task-') GROUP BY checkpoint_id),
made AS (SELECT checkpoint_id, max(run_id) AS run_id, max(step) AS step FROM checkpoints GROUP BY checkpoint_id)
SELECT n.checkpoint_id, n.evaluation_id, n.recorded_at, e.task, e.metric, e.value, e.low, e.high, e.n, made.run_id, made.step,
       coalesce(n.checkpoint_id = (SELECT checkpoint_id FROM champion), false) AS champion
FROM newest n
JOIN evaluations e ON e.evaluation_id = n.evaluation_id AND e.checkpoint_id = n.checkpoint_id
LEFT JOIN made ON made.checkpoint_id = n.checkpoint_id
WHERE e.subset = 'all' AND NOT starts_with(e.metric, 'nearest_pixels_')
ORDER BY n.recorded_at DESC, n.checkpoint_id, e.task, e.metric <> 'exact', e.metric
