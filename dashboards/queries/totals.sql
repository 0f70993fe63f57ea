-- How much came in, how much was kept, and what does the snapshot hold?
WITH chosen AS (
    SELECT sample_id, split FROM members WHERE snapshot = $snapshot
    UNION ALL
    SELECT sample_id, NULL FROM verdicts WHERE kept AND $snapshot IS NULL)
SELECT (SELECT count(*) FROM samples) AS came_in,
       (SELECT coalesce(sum(kept), 0)::BIGINT FROM funnel_check) AS kept,
       (SELECT count(*) FROM images) AS pictures_stored,
       (SELECT coalesce(sum(original_bytes), 0)::BIGINT FROM images) AS bytes,
       count(*) AS rows,
       count(DISTINCT hash(image_id)) AS pictures,
       count(DISTINCT lang) AS languages,
       count(DISTINCT task) AS tasks,
       count(DISTINCT source) AS sources,
       coalesce(sum(length(text)), 0)::BIGINT AS characters
FROM samples JOIN chosen USING (sample_id)
