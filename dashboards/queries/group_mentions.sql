-- How many texts speak of each group of people, as they came in and in the snapshot? Terms of the text's own language, whole words (`texts_left_out`: in a language without a list, or in none that is known).
WITH chosen AS (
    SELECT sample_id FROM members WHERE snapshot = $snapshot
    UNION ALL
    SELECT sample_id FROM verdicts WHERE kept AND $snapshot IS NULL),
texts AS (SELECT sample_id, sample_id IN (SELECT sample_id FROM chosen) AS held FROM worded),
m AS (SELECT * FROM mentions JOIN texts USING (sample_id)),
totals AS (SELECT count(*) AS all_texts, count(*) FILTER (held) AS held_texts,
                  (SELECT count(*) FROM samples WHERE text IS NOT NULL) AS all_spoken FROM texts)
SELECT kind, group_name, count(m.sample_id) AS came_in,
       CASE WHEN any_value(all_texts) > 0 THEN count(m.sample_id) / any_value(all_texts) END AS share_came_in,
       count(m.sample_id) FILTER (m.held) AS kept,
       CASE WHEN any_value(held_texts) > 0 THEN count(m.sample_id) FILTER (m.held) / any_value(held_texts) END AS share_kept,
       any_value(all_texts) AS texts, any_value(held_texts) AS texts_kept,
       any_value(all_spoken) - any_value(all_texts) AS texts_left_out
FROM (SELECT DISTINCT kind, group_name FROM terms WHERE kind <> 'stop') JOIN totals ON all_spoken > 0 LEFT JOIN m USING (kind, group_name)
GROUP BY ALL
ORDER BY kind, came_in DESC, group_name
