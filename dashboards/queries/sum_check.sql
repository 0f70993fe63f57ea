-- Do kept and dropped rows add up to what came in, for every source?
SELECT source, came_in, kept, dropped, adds_up FROM funnel_check ORDER BY came_in DESC, source
