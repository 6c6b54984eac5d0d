-- name: run_warnings
-- description: A run's current warnings and, on request, its automatic choices with their reasons.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: choices boolean = false -- include choices and estimates
WITH renewed AS (  -- events from before the latest analysis, or before its requests were answered, are out of date
    SELECT coalesce(max(number) FILTER (message = 'analyzing'), -1) AS analysis,
           coalesce(max(number) FILTER (message IN ('analyzing', 'probed')), -1) AS probe
    FROM run_event
    WHERE run_id = $run AND kind = 'state'
)
SELECT e.at AS happened_at, e.stage, e.kind, e.message
FROM run_event AS e CROSS JOIN renewed AS r
WHERE (e.run_id = $run  -- and what its extraction said, if that is another run's
       OR (e.stage = 'extract' AND e.run_id = (SELECT extraction_run_id FROM run WHERE id = $run)))
  AND (e.kind = 'warning' OR ($choices AND e.kind IN ('choice', 'estimate')))
  AND (e.stage <> 'analyze' OR e.number > r.analysis)
  AND (e.stage <> 'probe' OR e.number > r.probe)
ORDER BY e.at, e.number
