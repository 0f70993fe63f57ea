-- Which rows does a search find? In order of their likeness, or of a signal, or of their ids, which are drawn at random.
WITH page AS (
    SELECT sample_id, image_id, source, lang, task, prompt, text, value, distance,
           CASE $order WHEN 'lowest' THEN value WHEN 'highest' THEN -value END AS place
    FROM found
    ORDER BY distance, place, sample_id
    LIMIT $n OFFSET $skip)
SELECT page.* EXCLUDE (place), lost.reason
FROM page LEFT JOIN lost USING (sample_id)
ORDER BY distance, place, sample_id
