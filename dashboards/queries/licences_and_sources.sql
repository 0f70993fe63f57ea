-- Under which licences did each source bring its rows into the snapshot?
WITH chosen AS (
    SELECT sample_id FROM members WHERE snapshot = $snapshot
    UNION ALL
    SELECT sample_id FROM verdicts WHERE kept AND $snapshot IS NULL)
SELECT source, coalesce(licence, '(not stated)') AS licence, count(*) AS rows, count(DISTINCT image_id) AS pictures,
       count(DISTINCT author) AS authors, coalesce(bool_or(held_out), false) AS held_out
FROM samples SEMI JOIN chosen USING (sample_id)
GROUP BY ALL
ORDER BY source, 3 DESC, 2
