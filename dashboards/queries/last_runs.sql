-- Which runs were there last, in which state, and how far did they come?
WITH told AS (
    SELECT run_id, kind, max_by(state, recorded_at) AS state, min(recorded_at) AS began, max(recorded_at) AS last_word,
           max(snapshot) AS snapshot
    FROM runs GROUP BY run_id, kind
    ORDER BY last_word DESC, run_id LIMIT $n),
measured AS (
    SELECT run_id, max(step) AS step, max(recorded_at) AS measured_at FROM metrics
    WHERE run_id IN (SELECT run_id FROM told) GROUP BY run_id)
SELECT run_id, kind, state, began, greatest(last_word, measured_at) AS last_word, snapshot, step
FROM told LEFT JOIN measured USING (run_id)
ORDER BY told.last_word DESC, run_id
