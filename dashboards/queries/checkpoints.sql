-- Which checkpoints are there, newest first?
SELECT checkpoint_id, run_id, step, snapshot, parameters, "at"
FROM checkpoints
ORDER BY "at" DESC, step DESC, checkpoint_id
