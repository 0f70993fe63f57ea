-- Which pictures were taken for near-copies of each other? Groups drawn by hash.
WITH sized AS (
    SELECT group_id, count(*) AS size FROM groups SEMI JOIN images USING (image_id)
    GROUP BY group_id HAVING count(*) > 1
    ORDER BY md5(group_id) LIMIT $n),
placed AS (
    SELECT group_id, size, image_id, width, height, format, original_format, original_bytes,
           row_number() OVER (PARTITION BY group_id ORDER BY image_id <> group_id, md5(image_id)) AS place
    FROM sized JOIN groups USING (group_id) JOIN images USING (image_id))
SELECT group_id, size, image_id, width, height, original_format, original_bytes,
       count(sample_id) AS rows, count(sample_id) FILTER (v.kept) AS kept,
       coalesce(list(DISTINCT v.reason ORDER BY v.reason) FILTER (v.reason IS NOT NULL), []) AS reasons,
       min_by(s.text, md5(sample_id)) FILTER (v.kept) AS text,
       min_by(s.lang, md5(sample_id)) FILTER (v.kept) AS lang
FROM placed
LEFT JOIN samples s USING (image_id)
LEFT JOIN verdicts v USING (sample_id)
WHERE place <= 6
GROUP BY ALL
ORDER BY md5(group_id), any_value(place)
