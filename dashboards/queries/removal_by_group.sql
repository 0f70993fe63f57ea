-- How often does each stage drop texts that speak of a group of people, beside the other texts that it saw in those languages?
WITH judged AS (SELECT sample_id, stage, kept, reason FROM decisions SEMI JOIN worded USING (sample_id)),
saw AS (SELECT stage, count(*) AS seen FROM judged GROUP BY stage),
lost AS (SELECT stage, coalesce(reason, 'unstated') AS reason, count(*) AS dropped FROM judged WHERE NOT kept GROUP BY ALL),
group_saw AS (SELECT kind, group_name, stage, count(*) AS seen FROM judged JOIN mentions USING (sample_id) GROUP BY ALL),
group_lost AS (
    SELECT kind, group_name, stage, coalesce(reason, 'unstated') AS reason, count(*) AS dropped
    FROM judged JOIN mentions USING (sample_id) WHERE NOT kept GROUP BY ALL)
SELECT s.kind, s.group_name, s.stage, lost.reason, s.seen, coalesce(g.dropped, 0) AS dropped,
       saw.seen - s.seen AS rest_seen, lost.dropped - coalesce(g.dropped, 0) AS rest_dropped
FROM group_saw s JOIN saw USING (stage) JOIN lost USING (stage)
LEFT JOIN group_lost g ON g.kind = s.kind AND g.group_name = s.group_name AND g.stage = s.stage AND g.reason = lost.reason
ORDER BY s.kind, s.group_name, s.stage <> 'collect', s.stage <> 'filter', s.stage, lost.reason
