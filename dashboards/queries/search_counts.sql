-- How many rows does a search find, and how many of them did no stage drop?
SELECT count(*) AS rows, count(*) FILTER (reason IS NULL) AS kept FROM found
