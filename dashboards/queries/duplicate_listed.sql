-- Which pictures were taken for near-copies of each other? Of the groups 240, drawn by hash, with at most six pictures of each.
WITH others AS (SELECT DISTINCT group_id FROM groups WHERE image_id <> group_id),
stored AS (SELECT group_id, image_id FROM groups SEMI JOIN others USING (group_id) SEMI JOIN images USING (image_id))
SELECT group_id, count(*) AS size, list(image_id ORDER BY image_id <> group_id, md5(image_id))[1 : 6] AS image_ids
FROM stored
GROUP BY group_id HAVING count(*) > 1
ORDER BY md5(group_id)
LIMIT 240
