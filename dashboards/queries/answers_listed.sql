-- Which texts did a checkpoint generate in its newest evaluation? Drawn by hash.
SELECT a.task, a.expected, a.output, a.correct, s.sample_id, s.image_id, s.prompt, s.lang, s.source
FROM answers a JOIN samples s USING (sample_id)
WHERE a.evaluation_id = $evaluation AND a.output <> ''
ORDER BY md5(a.sample_id), a.task
LIMIT $n
