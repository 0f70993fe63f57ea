-- Which snapshots were committed last?
SELECT snapshot, rows, recorded_at, content_hash, amended_by
FROM snapshots
ORDER BY recorded_at DESC, snapshot DESC
LIMIT $n
