-- How many rows does a search find, and how many of them did no stage drop?
SELECT count(*) AS rows, count(*) - count(lost.sample_id) AS kept FROM found LEFT JOIN lost USING (sample_id)
