-- What did an evaluation's checkpoint answer to one item?
SELECT a.task, a.expected, a.output, a.correct, s.sample_id, s.image_id, s.prompt, s.lang, s.source
FROM answers a JOIN samples s USING (sample_id)
WHERE a.evaluation_id = $evaluation AND a.sample_id = $sample
ORDER BY a.task
LIMIT 1
