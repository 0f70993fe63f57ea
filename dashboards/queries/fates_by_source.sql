-- What became of the rows of each source: kept, or dropped for which reason?
WITH kept AS (SELECT source, NULL AS reason, kept AS rows FROM funnel_check WHERE kept > 0),
lost AS (SELECT source, coalesce(reason, 'unstated') AS reason, count(*) AS rows FROM losses GROUP BY ALL)
SELECT source, reason, rows
FROM (FROM kept UNION ALL FROM lost)
ORDER BY source, reason IS NOT NULL, rows DESC, reason
