-- Which pictures were taken for near-copies of each other? Of the groups 240, drawn by hash, with at most six pictures of each.
WITH others AS (SELECT DISTINCT group_id FROM groups WHERE image_id <> group_id),
stored AS (SELECT group_id, image_id FROM groups SEMI JOIN others USING (group_id) SEMI JOIN images USING (image_id)),
sized AS (
    SELECT group_id, count(*) AS size FROM stored
    GROUP BY group_id HAVING count(*) > 1
    ORDER BY md5(group_id) LIMIT 240),
placed AS (
    SELECT group_id, size, image_id FROM sized JOIN stored USING (group_id)
    QUALIFY row_number() OVER (PARTITION BY group_id ORDER BY image_id <> group_id, md5(image_id)) <= 6),
rows AS (SELECT sample_id, image_id, task, lang FROM samples SEMI JOIN placed USING (image_id)),
judged AS (
    SELECT sample_id, bool_and(kept) AS kept,
           min_by(reason, (stage <> 'collect', stage <> 'filter', stage)) FILTER (NOT kept) AS reason
    FROM decisions SEMI JOIN rows USING (sample_id) GROUP BY sample_id),
told AS (
    SELECT image_id, count(*) AS rows, count(*) FILTER (kept) AS kept,
           coalesce(list(DISTINCT reason ORDER BY reason) FILTER (reason IS NOT NULL), []) AS reasons,
           min_by(sample_id, (task <> 'caption', lang <> 'en', md5(sample_id))) FILTER (kept) AS said_by
    FROM rows LEFT JOIN judged USING (sample_id)
    GROUP BY image_id)
SELECT group_id, size, image_id, width, height, original_format, original_bytes, coalesce(rows, 0) AS rows,
       coalesce(kept, 0) AS kept, coalesce(reasons, []) AS reasons, said_by
FROM placed JOIN images USING (image_id) LEFT JOIN told USING (image_id)
ORDER BY md5(group_id), group_id, image_id <> group_id, md5(image_id)
