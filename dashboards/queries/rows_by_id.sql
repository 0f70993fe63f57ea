-- What do these rows say, and what became of them?
SELECT s.sample_id, s.image_id, s.source, s.origin, s.lang, s.task, s.prompt, s.text, d.reason
FROM samples s
LEFT JOIN (SELECT sample_id, min_by(coalesce(reason, 'unstated'), (stage <> 'collect', stage <> 'filter', stage)) AS reason
           FROM decisions WHERE NOT kept AND sample_id IN (SELECT unnest($ids)) GROUP BY sample_id) d USING (sample_id)
WHERE s.sample_id IN (SELECT unnest($ids))
ORDER BY s.sample_id
