-- How many pictures are near-copies of another, and how many rows share a picture of another origin?
WITH sized AS (
    SELECT group_id, count(*) AS pictures FROM groups SEMI JOIN images USING (image_id)
    GROUP BY group_id HAVING count(*) > 1),
shared AS (
    SELECT count(DISTINCT (source, origin)) AS origins FROM samples WHERE image_id IS NOT NULL
    GROUP BY image_id HAVING count(DISTINCT (source, origin)) > 1)
SELECT (SELECT count(*) FROM sized) AS groups,
       (SELECT coalesce(sum(pictures), 0)::BIGINT FROM sized) AS pictures,
       (SELECT coalesce(max(pictures), 0) FROM sized) AS largest,
       (SELECT count(*) FROM shared) AS shared_pictures,
       (SELECT coalesce(sum(origins), 0)::BIGINT FROM shared) AS shared_origins
