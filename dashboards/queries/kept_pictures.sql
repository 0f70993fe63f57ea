-- What do kept pictures look like? Drawn by hash, in turn from every source, language and task.
WITH chosen AS (
    SELECT sample_id, split FROM members WHERE snapshot = $snapshot
    UNION ALL
    SELECT sample_id, split FROM verdicts LEFT JOIN splits USING (sample_id) WHERE kept AND $snapshot IS NULL),
drawn AS (
    SELECT sample_id, image_id, source, lang, task, split, prompt, text
    FROM samples JOIN chosen USING (sample_id)
    WHERE image_id IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY md5(sample_id)) = 1)
SELECT *
FROM drawn
ORDER BY row_number() OVER (PARTITION BY source, lang, task ORDER BY md5(sample_id)), md5(sample_id)
LIMIT $n
