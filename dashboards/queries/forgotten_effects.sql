-- Which snapshots and checkpoints held rows that were forgotten?
SELECT request_id, recorded_at, what, name, amended_by, run_id, step FROM affected ORDER BY recorded_at DESC, what, name
LIMIT $n
