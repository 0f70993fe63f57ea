-- What did the model answer? Right and wrong items of each task, drawn by hash, in turn from every language.
WITH turns AS (
    SELECT a.task, a.correct, a.expected, a.output, s.sample_id, s.image_id, s.prompt, s.lang, s.source,
           row_number() OVER (PARTITION BY a.task, a.correct, s.lang ORDER BY md5(s.sample_id)) AS turn
    FROM answers a JOIN samples s USING (sample_id)
    WHERE a.evaluation_id = $evaluation)
SELECT task, correct, expected, output, sample_id, image_id, prompt, lang, source
FROM turns
QUALIFY row_number() OVER (PARTITION BY task, correct ORDER BY turn, md5(sample_id)) <= $n
ORDER BY task, correct DESC, turn, md5(sample_id)
