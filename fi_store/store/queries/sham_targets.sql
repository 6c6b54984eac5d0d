-- name: sham_targets
-- description: The sham targets that set the floor: how far they move activations, and what the same search finds on them.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
SELECT s.number, s.seed, s.scale, s.relative_difference_pair, s.relative_difference_sham, r.n_tested, r.n_confirmed
FROM sham_target s
LEFT JOIN sham_result r ON r.run_id = $run AND r.number = s.number
WHERE s.run_id = (SELECT extraction_run_id FROM run WHERE run.id = $run)
ORDER BY s.number
