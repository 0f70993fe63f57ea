-- What was dropped from training because it is in an evaluation set, by that set, source and kind of match? With a few rows to look at.
WITH hit AS (
    SELECT d.sample_id, d.stage, d.reason, d.detail AS held_id, h.source AS evaluation_set, s.source,
           s.image_id, h.image_id AS held_image_id,
           CASE WHEN d.reason = 'contaminated_text' THEN 'words'
                WHEN s.image_id IS NOT NULL AND h.image_id IS NOT NULL THEN 'picture' ELSE 'text' END AS what
    FROM decisions d JOIN samples s USING (sample_id) JOIN samples h ON h.sample_id = d.detail
    WHERE NOT d.kept AND d.reason IN ('contaminated', 'contaminated_text')),
sets AS (SELECT source AS evaluation_set, count(*) AS held_rows FROM samples WHERE held_out GROUP BY source)
SELECT evaluation_set, any_value(held_rows) AS held_rows, hit.source, what, count(DISTINCT hit.sample_id) AS dropped,
       count(DISTINCT held_id) AS held_rows_met,
       coalesce(list({'sample_id': hit.sample_id, 'image_id': image_id, 'held_id': held_id, 'held_image_id': held_image_id}
                     ORDER BY md5(hit.sample_id), stage) FILTER (hit.sample_id IS NOT NULL), [])[1 : $n] AS examples
FROM sets FULL JOIN hit USING (evaluation_set)
GROUP BY evaluation_set, hit.source, what
ORDER BY dropped DESC, evaluation_set, hit.source, what
