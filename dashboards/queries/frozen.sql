-- What is a snapshot, and what replaced it?
SELECT snapshot, content_hash, text_tokenizer, image_tokenizer, rows, amended_by, recorded_at
FROM snapshots WHERE snapshot = $snapshot
ORDER BY recorded_at DESC
LIMIT 1
