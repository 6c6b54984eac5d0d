-- name: run_warnings
-- description: Warnings of a run, and the automatic choices with their reasons.
-- parameter: run run = latest -- the run: latest, an id, or a unique beginning of one
-- parameter: choices boolean = false -- the choices and estimates too
SELECT run_event.at AS happened_at, stage, kind, message
FROM run_event
WHERE run_id = $run AND (kind = 'warning' OR ($choices AND kind IN ('choice', 'estimate')))
ORDER BY number
