-- What do dropped rows look like? A few for every reason, drawn by hash.
SELECT reason, rows, stage, sample_id, source, origin, detail, image_id, prompt, text, lang, task
FROM (
    SELECT coalesce(v.reason, 'unstated') AS reason, v.stage, s.sample_id, s.source, s.origin, d.detail, s.image_id,
           s.prompt, s.text, s.lang, s.task,
           count(*) OVER (PARTITION BY coalesce(v.reason, 'unstated')) AS rows,
           row_number() OVER (PARTITION BY coalesce(v.reason, 'unstated') ORDER BY md5(s.sample_id)) AS place
    FROM verdicts v
    JOIN samples s USING (sample_id)
    LEFT JOIN decisions d ON d.sample_id = v.sample_id AND d.stage = v.stage AND NOT d.kept
    WHERE NOT v.kept)
WHERE place <= $n
ORDER BY rows DESC, reason, place
