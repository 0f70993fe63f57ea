-- How many rows has the snapshot that a checkpoint was trained on?
SELECT s.rows FROM snapshots s JOIN checkpoints c ON c.snapshot = s.snapshot
WHERE c.checkpoint_id = $checkpoint
ORDER BY s.recorded_at DESC
LIMIT 1
