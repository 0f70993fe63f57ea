-- Which rows that a checkpoint trained on are nearest to a text, by the words that both have? And how often was each in a batch by then?
WITH chosen AS (SELECT * FROM checkpoints WHERE checkpoint_id = $checkpoint LIMIT 1),
asked AS (SELECT list_distinct(regexp_extract_all(lower($words), '[\p{L}\p{N}]+')) AS w),
spoken AS (
    SELECT s.sample_id, s.image_id, s.source, s.origin, s.licence, s.lang, s.task, s.prompt, s.text,
           list_distinct(regexp_extract_all(lower(s.text), '[\p{L}\p{N}]+')) AS w
    FROM snapshot_members m JOIN chosen c ON m.snapshot = c.snapshot JOIN samples s USING (sample_id)
    WHERE m.split = 'train' AND s.text IS NOT NULL),
near AS (
    SELECT * EXCLUDE (w), len(list_intersect(spoken.w, asked.w)) / nullif(len(list_distinct(list_concat(spoken.w, asked.w))), 0) AS alike
    FROM (SELECT s.* FROM spoken s, asked WHERE list_has_any(s.w, asked.w)) spoken, asked
    ORDER BY alike DESC, sample_id LIMIT $n),
seen AS (
    SELECT sample_id, count(*) AS times_seen
    FROM (SELECT unnest(b.sample_ids) AS sample_id FROM batch_plan b JOIN chosen c ON b.run_id = c.run_id AND b.step < c.step)
    SEMI JOIN near USING (sample_id) GROUP BY sample_id)
SELECT near.*, coalesce(times_seen, 0) AS times_seen
FROM near LEFT JOIN seen USING (sample_id)
ORDER BY alike DESC, sample_id
