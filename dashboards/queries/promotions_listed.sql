-- Which checkpoints were promoted, refused or taken back, and why?
SELECT recorded_at, outcome, checkpoint_id, champion, reason, decided_by, items, gain, low, high
FROM promotions ORDER BY recorded_at DESC, promotion_id LIMIT $n
