-- Which snapshot and checkpoint are the newest, and when was the store last written to?
SELECT (SELECT snapshot FROM snapshots ORDER BY "at" DESC, snapshot DESC LIMIT 1) AS snapshot,
       (SELECT checkpoint_id FROM checkpoints ORDER BY "at" DESC, step DESC, checkpoint_id LIMIT 1) AS checkpoint_id,
       (SELECT run_id FROM runs SEMI JOIN metrics USING (run_id) WHERE kind = 'train'
        ORDER BY "at" DESC, run_id DESC LIMIT 1) AS run_id,
       greatest((SELECT max("at") FROM snapshots), (SELECT max("at") FROM checkpoints), (SELECT max("at") FROM evaluations),
                (SELECT max("at") FROM runs), (SELECT max(fetched_at) FROM samples)) AS "at"
