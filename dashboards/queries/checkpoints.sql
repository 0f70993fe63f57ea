-- Which checkpoints are there, newest first?
SELECT checkpoint_id, run_id, step, snapshot, parameters, recorded_at
FROM checkpoints
ORDER BY recorded_at DESC, step DESC, checkpoint_id
