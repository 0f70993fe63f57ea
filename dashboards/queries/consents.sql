-- What did sites say about taking their pictures, by which sign?
SELECT CASE WHEN allowed THEN 'allowed' ELSE 'refused' END AS decision, basis,
       count(DISTINCT url) AS urls, any_value(evidence) AS for_example, max(recorded_at) AS newest
FROM consents GROUP BY ALL ORDER BY urls DESC
