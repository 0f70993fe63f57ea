-- Which rows that a checkpoint trained on are nearest to a text, by the words (of Chinese, the characters) that both have? And how often was each in a batch by then?
WITH chosen AS (SELECT * FROM checkpoints WHERE checkpoint_id = $checkpoint LIMIT 1),
asked AS (SELECT list_distinct(regexp_extract_all(regexp_replace(lower($words), '(\p{Han})', ' \1 ', 'g'), '[\p{L}\p{N}]+'))[1 : 24] AS w),
close AS MATERIALIZED (  -- a quick look at all of them: the two thousand that hold the most of the words, the shortest first
    SELECT s.sample_id, list_sum(list_transform(asked.w, lambda one: contains(lower(s.text), one)::INTEGER)) AS met
    FROM samples s, asked
    WHERE s.text IS NOT NULL AND s.sample_id IN (
        SELECT m.sample_id FROM snapshot_members m JOIN chosen c ON m.snapshot = c.snapshot WHERE m.split = 'train')
    ORDER BY met DESC, length(s.text), s.sample_id LIMIT 2000),
spoken AS (
    SELECT s.*, list_distinct(regexp_extract_all(regexp_replace(lower(s.text), '(\p{Han})', ' \1 ', 'g'), '[\p{L}\p{N}]+')) AS w
    FROM samples s JOIN close USING (sample_id) WHERE met > 0),
near AS (
    SELECT sample_id, image_id, source, origin, licence, lang, task, prompt, text,
           len(list_intersect(spoken.w, asked.w)) / len(list_distinct(list_concat(spoken.w, asked.w))) AS alike
    FROM spoken, asked WHERE list_has_any(spoken.w, asked.w)
    ORDER BY alike DESC, sample_id LIMIT $n),
seen AS (
    SELECT sample_id, count(*) AS times_seen
    FROM (SELECT unnest(b.sample_ids) AS sample_id FROM batch_plan b JOIN chosen c ON b.run_id = c.run_id AND b.step < c.step)
    SEMI JOIN near USING (sample_id) GROUP BY sample_id)
SELECT near.*, coalesce(times_seen, 0) AS times_seen
FROM near LEFT JOIN seen USING (sample_id)
ORDER BY alike DESC, sample_id
