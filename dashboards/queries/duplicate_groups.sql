-- Which pictures were taken for near-copies of each other? Groups drawn by hash.
WITH sized AS (
    SELECT group_id, count(*) AS size FROM groups SEMI JOIN images USING (image_id)
    GROUP BY group_id HAVING count(*) > 1
    ORDER BY md5(group_id) LIMIT $n OFFSET $skip),
placed AS (
    SELECT group_id, size, image_id, width, height, original_format, original_bytes,
           row_number() OVER (PARTITION BY group_id ORDER BY image_id <> group_id, md5(image_id)) AS place
    FROM sized JOIN groups USING (group_id) JOIN images USING (image_id)),
told AS (
    SELECT s.image_id, count(*) AS rows, count(*) FILTER (v.kept) AS kept,
           coalesce(list(DISTINCT v.reason ORDER BY v.reason) FILTER (v.reason IS NOT NULL), []) AS reasons,
           min_by({'text': s.text, 'lang': s.lang}, (s.task <> 'caption', s.lang <> 'en', md5(s.sample_id)))
               FILTER (v.kept) AS said
    FROM samples s LEFT JOIN verdicts v USING (sample_id)
    WHERE s.image_id IN (SELECT image_id FROM placed)
    GROUP BY s.image_id)
SELECT group_id, size, image_id, width, height, original_format, original_bytes, coalesce(rows, 0) AS rows,
       coalesce(kept, 0) AS kept, coalesce(reasons, []) AS reasons, said.text AS text,
       said.lang AS lang
FROM placed LEFT JOIN told USING (image_id)
WHERE place <= 6
ORDER BY md5(group_id), place
