-- Under which licences are the rows that a checkpoint may have seen, and how many did its batches hold by then?
WITH chosen AS (SELECT * FROM checkpoints WHERE checkpoint_id = $checkpoint LIMIT 1),
seen AS (
    SELECT DISTINCT unnest(b.sample_ids) AS sample_id
    FROM batch_plan b JOIN chosen c ON b.run_id = c.run_id AND b.step < c.step)
SELECT coalesce(licence, '(not stated)') AS licence, count(*) AS rows, count(seen.sample_id) AS seen,
       count(DISTINCT source) AS sources
FROM members m
JOIN chosen c ON m.snapshot = c.snapshot
JOIN samples s USING (sample_id)
LEFT JOIN seen USING (sample_id)
WHERE m.split = 'train'
GROUP BY ALL
ORDER BY 2 DESC, 1
