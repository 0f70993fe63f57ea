-- Which snapshot was the champion trained on?
SELECT DISTINCT c.snapshot FROM champion h JOIN checkpoints c ON c.checkpoint_id = h.checkpoint_id ORDER BY c.snapshot
