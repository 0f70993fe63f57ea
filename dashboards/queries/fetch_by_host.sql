-- How does fetching go, host by host? The last attempt of each URL counts. Requests for consent are no URLs of the corpus.
WITH last AS (SELECT DISTINCT ON (url) * FROM attempts
              WHERE NOT regexp_matches(url, '/(robots\.txt|\.well-known/tdmrep\.json)$')
              ORDER BY url, attempt DESC, recorded_at DESC),
tries AS (SELECT host, count(*) AS requests, sum(bytes) / 1e6 AS mb, median(milliseconds)::INTEGER AS median_ms
          FROM attempts WHERE outcome NOT IN ('postponed', 'run_deadline') GROUP BY host)
SELECT coalesce(last.host, '(no host)') AS host, count(*) AS urls, round(avg((outcome = 'ok')::INTEGER), 3) AS success,
       count(*) FILTER (outcome = 'consent_refused') AS refused, count(*) FILTER (next_due IS NOT NULL) AS due_again,
       any_value(requests) AS requests, round(any_value(mb), 1) AS mb, any_value(median_ms) AS median_ms
FROM last LEFT JOIN tries ON tries.host IS NOT DISTINCT FROM last.host
GROUP BY last.host ORDER BY urls DESC, host LIMIT 50
