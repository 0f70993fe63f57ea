-- Which texts did a checkpoint generate in its newest evaluation? Drawn by hash.
WITH listed AS (
    SELECT task, expected, output, correct, sample_id FROM answers
    WHERE evaluation_id = $evaluation AND output <> ''
    ORDER BY md5(sample_id), task
    LIMIT $n)
SELECT a.task, a.expected, a.output, a.correct, s.sample_id, s.image_id, s.prompt, s.lang, s.source
FROM listed a JOIN samples s USING (sample_id)
ORDER BY md5(a.sample_id), a.task
