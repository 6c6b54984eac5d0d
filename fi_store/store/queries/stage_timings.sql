-- name: stage_timings
-- description: How long each step of a run took.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
SELECT stage, message AS step, sum(value) AS seconds, min(number) AS first_event
FROM run_event
WHERE run_id = $run AND kind = 'timing'
GROUP BY stage, message
ORDER BY first_event
