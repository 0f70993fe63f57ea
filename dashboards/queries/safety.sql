-- In how many rows did the annotators find personal data, or a safety score of one half or more: as they came in, and in the snapshot?
WITH chosen AS (
    SELECT sample_id FROM members WHERE snapshot = $snapshot
    UNION ALL
    SELECT sample_id FROM verdicts WHERE kept AND $snapshot IS NULL),
found AS (
    SELECT sample_id, TRY_CAST(COLUMNS(lambda c: regexp_full_match(c, 'looked_at|(contact_details|personal_numbers|names|safety|nsfw|toxicity)_.*')) AS DOUBLE)
    FROM (SELECT *, 1 AS looked_at FROM signals)),
counted AS (
    SELECT sample_id, signal, value >= (CASE WHEN regexp_matches(signal, '^(safety|nsfw|toxicity)') THEN 0.5 ELSE 1 END) AS flagged
    FROM (UNPIVOT found ON COLUMNS(* EXCLUDE (sample_id)) INTO NAME signal VALUE value))
SELECT signal, count(*) FILTER (flagged) AS rows, count(*) FILTER (flagged AND sample_id IN (SELECT sample_id FROM chosen)) AS kept
FROM counted
GROUP BY signal
ORDER BY signal <> 'looked_at', signal
