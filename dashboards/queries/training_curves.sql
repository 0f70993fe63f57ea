-- How did each figure of a run develop? At most 240 points a figure, each the mean of its stretch of steps.
WITH figures AS (
    SELECT name, step, arg_max(value, recorded_at) AS value FROM metrics WHERE run_id = $run GROUP BY name, step),
ranged AS (SELECT greatest(1, (max(step) - min(step) + 239) // 240) AS stretch, min(step) AS first FROM figures)
SELECT name, max(step) AS step, avg(value ORDER BY step) FILTER (isfinite(value)) AS value,
       count(*) FILTER (NOT isfinite(value)) AS not_finite
FROM figures, ranged
GROUP BY name, (step - first) // stretch
ORDER BY name, step
