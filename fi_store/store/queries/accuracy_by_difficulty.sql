-- name: accuracy_by_difficulty
-- description: How often each model is right at each difficulty, with 95% intervals. The row without a difficulty covers all prompts.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- chart: accuracy
SELECT try_cast(name AS INTEGER) AS difficulty, * EXCLUDE (run_id, part, name)
FROM accuracy
WHERE run_id = $run AND part IN ('all', 'difficulty')
ORDER BY difficulty NULLS FIRST
