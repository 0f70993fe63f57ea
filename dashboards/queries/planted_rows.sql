-- What became of each row of the demo corpus, beside what was planted in it?
WITH rows AS (
    SELECT sample_id, position, text, regexp_extract(origin, '(?:^|[^A-Za-z0-9])([gh][0-9]{6})(?:[^0-9]|$)', 1) AS picture
    FROM samples)
SELECT t.picture, t.position, t.kind, t.of, t.expect, r.sample_id IS NOT NULL AS came_in, v.kept, v.stage, v.reason,
       t.secret IS NOT NULL AND contains(coalesce(r.text, ''), t.secret) AS exposed
FROM read_parquet($truth) t
LEFT JOIN rows r ON r.picture = t.picture AND coalesce(r.position, 0) = t.position
LEFT JOIN verdicts v USING (sample_id)
ORDER BY t.picture, t.position
