-- How are the snapshot's rows and pictures split?
WITH chosen AS (
    SELECT sample_id, split FROM members WHERE snapshot = $snapshot
    UNION ALL
    SELECT sample_id, split FROM verdicts LEFT JOIN splits USING (sample_id) WHERE kept AND $snapshot IS NULL)
SELECT coalesce(split, '(none)') AS split, count(*) AS rows, count(DISTINCT image_id) AS pictures
FROM samples JOIN chosen USING (sample_id)
GROUP BY ALL
ORDER BY 2 DESC, 1
