-- How are the snapshot's rows spread over sources, languages, licences, tasks and labels? The twenty largest of each.
WITH chosen AS (
    SELECT sample_id FROM members WHERE snapshot = $snapshot
    UNION ALL
    SELECT sample_id FROM verdicts WHERE kept AND $snapshot IS NULL),
told AS (
    SELECT coalesce(source, '(none)') AS source, coalesce(lang, '(none)') AS language,
           coalesce(licence, '(not stated)') AS licence, coalesce(task, '(none)') AS task, coalesce(label, '(none)') AS label
    FROM samples SEMI JOIN chosen USING (sample_id)),
counted AS (
    SELECT dimension, value, count(*) AS rows
    FROM (UNPIVOT told ON source, language, licence, task, label INTO NAME dimension VALUE value) GROUP BY ALL)
SELECT dimension, value, rows, rows / sum(rows) OVER (PARTITION BY dimension) AS share,
       count(*) OVER (PARTITION BY dimension) AS different
FROM counted
QUALIFY row_number() OVER (PARTITION BY dimension ORDER BY rows DESC, value) <= 20
ORDER BY dimension, rows DESC, value
