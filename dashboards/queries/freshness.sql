-- How fresh is each source: when did its newest row come in, and how many rows has it?
SELECT source, count(*) AS rows, max(fetched_at) AS newest, bool_or(held_out) AS held_out
FROM samples
GROUP BY source
ORDER BY newest DESC, source
