-- How do fetches end, and what is tried again? The last attempt of each URL counts. Requests for consent are no URLs of the corpus.
WITH last AS (SELECT DISTINCT ON (url) * FROM attempts
              WHERE NOT regexp_matches(url, '/(robots\.txt|\.well-known/tdmrep\.json)$')
              ORDER BY url, attempt DESC, recorded_at DESC)
SELECT outcome, count(*) AS urls, round(count(*) / sum(count(*)) OVER (), 3) AS share,
       count(DISTINCT host) AS hosts, count(*) FILTER (next_due IS NOT NULL) AS due_again, min(next_due) AS next_due
FROM last GROUP BY outcome ORDER BY urls DESC, outcome
