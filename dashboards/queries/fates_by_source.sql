-- What became of the rows of each source: kept, or dropped for which reason?
WITH fates AS (
    SELECT source, CASE WHEN kept THEN NULL ELSE coalesce(reason, 'unstated') END AS why FROM verdicts)
SELECT source, why AS reason, count(*) AS rows
FROM fates
GROUP BY source, why
ORDER BY source, why IS NOT NULL, rows DESC, why
