-- Which rows does a search find? In order of their likeness, or of a signal, or of their ids, which are drawn at random.
SELECT sample_id, image_id, source, lang, task, prompt, text, reason, value, distance
FROM found
ORDER BY distance, CASE $order WHEN 'lowest' THEN value WHEN 'highest' THEN -value END, sample_id
LIMIT $n OFFSET $skip
