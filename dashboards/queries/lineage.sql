-- Which run, snapshot, tokenizers, settings and code made a checkpoint?
SELECT c.checkpoint_id, c.run_id, c.step, c.parameters, c.recorded_at, c.snapshot, s.content_hash, s.rows, s.versions,
       s.text_tokenizer, s.image_tokenizer, s.amended_by, s.recorded_at AS snapshot_at,
       CASE WHEN r.config IS NOT NULL THEN sha256(r.config) END AS config_hash, r.code_version,
       r.recorded_at AS started_at, (SELECT count(*) FROM batch_plan WHERE run_id = c.run_id) AS planned
FROM checkpoints c
LEFT JOIN snapshots s ON s.snapshot = c.snapshot
LEFT JOIN runs r ON r.run_id = c.run_id AND r.state = 'started'
WHERE c.checkpoint_id = $checkpoint
ORDER BY r.recorded_at DESC, s.recorded_at DESC
LIMIT 1
