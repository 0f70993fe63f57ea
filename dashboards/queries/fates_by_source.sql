-- What became of the rows of each source: kept, or dropped for which reason?
SELECT source, CASE WHEN kept THEN NULL ELSE coalesce(reason, 'unstated') END AS reason, count(*) AS rows
FROM verdicts
GROUP BY ALL
ORDER BY source, reason IS NOT NULL, rows DESC, reason
