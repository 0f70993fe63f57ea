-- How many rows did each stage see, keep and drop?
SELECT source, stage, came_in, kept, dropped
FROM funnel
ORDER BY source, stage <> 'collect', stage <> 'filter', came_in DESC, kept DESC, stage
