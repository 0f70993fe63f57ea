-- How are the values of a signal spread over what a search finds, among rows that no stage dropped and the others?
WITH counted AS (
    SELECT value, lost.sample_id IS NULL AS kept FROM within LEFT JOIN lost USING (sample_id) WHERE isfinite(value)),
spanned AS (SELECT min(value) AS low, max(value) AS high FROM counted HAVING count(*) > 0),
placed AS (
    SELECT least(39, floor(40 * (value - low) / nullif(high - low, 0)))::INTEGER AS place, kept FROM counted, spanned)
SELECT coalesce(place, 0) AS place, any_value(low) AS low, any_value(high) AS high,
       count(*) FILTER (kept) AS kept, count(*) FILTER (NOT kept) AS dropped
FROM placed, spanned
GROUP BY 1
ORDER BY 1
