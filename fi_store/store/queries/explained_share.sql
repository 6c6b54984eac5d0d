-- name: explained_share
-- description: How much of the difference between the models the run's findings explain together.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
WITH analysis AS (
    SELECT coalesce(max(number), -1) AS started FROM run_event
    WHERE run_id = $run AND kind = 'state' AND message = 'analyzing'
)
SELECT event.message AS sentence, (event.detail ->> 'explained')::DOUBLE AS explained,
       (event.detail ->> 'low')::DOUBLE AS low, (event.detail ->> 'high')::DOUBLE AS high, event.at AS happened_at
FROM run_event AS event CROSS JOIN analysis
WHERE event.run_id = $run AND event.stage = 'analyze' AND event.kind = 'choice'
  AND event.number > analysis.started AND (event.detail ->> 'explained') IS NOT NULL
ORDER BY event.number DESC
LIMIT 1
