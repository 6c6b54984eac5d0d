-- name: run_warnings
-- description: Warnings of a run that still hold, and the automatic choices with their reasons.
-- parameter: run run = latest -- the run: latest, an id, or a unique beginning of one
-- parameter: choices boolean = false -- the choices and estimates too
WITH renewed AS (  -- what was said before a later analysis, or before its requests were answered, is not so any more
    SELECT coalesce(max(number) FILTER (message = 'analyzing'), -1) AS analysis,
           coalesce(max(number) FILTER (message IN ('analyzing', 'probed')), -1) AS probe
    FROM run_event
    WHERE run_id = $run AND kind = 'state'
)
SELECT e.at AS happened_at, e.stage, e.kind, e.message
FROM run_event AS e CROSS JOIN renewed AS r
WHERE e.run_id = $run AND (e.kind = 'warning' OR ($choices AND e.kind IN ('choice', 'estimate')))
  AND (e.stage <> 'analyze' OR e.number > r.analysis)
  AND (e.stage <> 'probe' OR e.number > r.probe)
ORDER BY e.number
