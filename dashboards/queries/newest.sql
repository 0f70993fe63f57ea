-- Which snapshot and checkpoint are the newest, and when was the store last written to?
SELECT (SELECT snapshot FROM snapshots ORDER BY recorded_at DESC, snapshot DESC LIMIT 1) AS snapshot,
       (SELECT checkpoint_id FROM checkpoints ORDER BY recorded_at DESC, step DESC, checkpoint_id LIMIT 1) AS checkpoint_id,
       (SELECT run_id FROM runs SEMI JOIN metrics USING (run_id) WHERE kind = 'train'
        ORDER BY recorded_at DESC, run_id DESC LIMIT 1) AS run_id,
       greatest((SELECT max(recorded_at) FROM snapshots), (SELECT max(recorded_at) FROM checkpoints), (SELECT max(recorded_at) FROM evaluations),
                (SELECT max(recorded_at) FROM runs), (SELECT max(fetched_at) FROM samples)) AS recorded_at
