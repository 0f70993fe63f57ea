-- What is known of these pictures, and of the rows that refer to them?
WITH rows AS (SELECT * FROM samples WHERE image_id IN (SELECT unnest($ids))),
judged AS (
    SELECT sample_id, bool_and(kept) AS kept,
           min_by(reason, (stage <> 'collect', stage <> 'filter', stage)) FILTER (NOT kept) AS reason
    FROM decisions WHERE sample_id IN (SELECT sample_id FROM rows) GROUP BY sample_id),
told AS (
    SELECT image_id, count(*) AS rows, count(*) FILTER (kept) AS kept,
           coalesce(list(DISTINCT reason ORDER BY reason) FILTER (reason IS NOT NULL), []) AS reasons,
           min_by({'text': text, 'lang': lang}, (task <> 'caption', lang <> 'en', md5(sample_id))) FILTER (kept) AS said
    FROM rows LEFT JOIN judged USING (sample_id)
    GROUP BY image_id)
SELECT image_id, width, height, original_format, original_bytes, coalesce(rows, 0) AS rows, coalesce(kept, 0) AS kept,
       coalesce(reasons, []) AS reasons, said.text AS text, said.lang AS lang
FROM images LEFT JOIN told USING (image_id)
WHERE image_id IN (SELECT unnest($ids))
ORDER BY image_id
