-- How many fetches ended how, hour by hour? The last 48 hours in which any were made.
WITH hourly AS (
    SELECT date_trunc('hour', recorded_at) AS hour, outcome, count(*) AS requests
    FROM attempts WHERE recorded_at IS NOT NULL GROUP BY ALL)
SELECT hour, outcome, requests FROM hourly
WHERE hour IN (SELECT DISTINCT hour FROM hourly ORDER BY hour DESC LIMIT 48)
ORDER BY hour, requests DESC, outcome
