-- Which languages and tasks does the snapshot hold?
WITH chosen AS (
    SELECT sample_id FROM members WHERE snapshot = $snapshot
    UNION ALL
    SELECT sample_id FROM verdicts WHERE kept AND $snapshot IS NULL),
counted AS (
    SELECT coalesce(lang, '(none)') AS lang, coalesce(task, '(none)') AS task, count(*) AS rows,
           count(DISTINCT image_id) AS pictures, avg(length(text)) AS characters
    FROM samples SEMI JOIN chosen USING (sample_id)
    GROUP BY 1, 2)
SELECT lang, task, rows, pictures, characters
FROM counted
ORDER BY sum(rows) OVER (PARTITION BY lang) DESC, lang, rows DESC, task
