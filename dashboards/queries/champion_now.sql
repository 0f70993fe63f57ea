-- Which checkpoint answers for the store, and since when?
SELECT checkpoint_id, since, outcome, reason FROM champion
