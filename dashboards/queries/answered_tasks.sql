-- Which tasks do the answers of these evaluations belong to?
SELECT task, count(DISTINCT sample_id) AS items FROM answers WHERE evaluation_id IN $evaluations GROUP BY task ORDER BY items DESC, task
