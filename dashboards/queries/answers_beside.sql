-- What did several evaluations answer to the same items? drawn by hash. `$which` takes all, those that differ, or those that some got wrong.
WITH given AS (
    SELECT sample_id, task, max(expected) AS expected,
           list({'evaluation_id': evaluation_id, 'output': output, 'correct': correct} ORDER BY evaluation_id) AS answers,
           count(DISTINCT output) AS different, bool_and(correct) AS all_right
    FROM (SELECT DISTINCT evaluation_id, sample_id, task, expected, output, correct FROM answers
          WHERE evaluation_id IN $evaluations)
    GROUP BY sample_id, task),
page AS (
    SELECT * FROM given
    WHERE ($task = '' OR task = $task)
      AND CASE $which WHEN 'differing' THEN different > 1 WHEN 'wrong' THEN NOT all_right ELSE true END
    ORDER BY md5(sample_id), task
    LIMIT $n OFFSET $skip)
SELECT g.sample_id, g.task, g.expected, g.answers, s.image_id, s.prompt, s.lang, s.source
FROM page g JOIN samples s USING (sample_id)
ORDER BY md5(g.sample_id), g.task
