-- Which sources, languages and tasks are there to search in? The sixty largest of each.
WITH counted AS (
    SELECT dimension, value, count(*) AS rows
    FROM (UNPIVOT (SELECT source, lang, task FROM samples) ON source, lang, task INTO NAME dimension VALUE value) GROUP BY ALL)
SELECT dimension, value, rows FROM counted
QUALIFY row_number() OVER (PARTITION BY dimension ORDER BY rows DESC, value) <= 60
ORDER BY dimension, rows DESC, value
