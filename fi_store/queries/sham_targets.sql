-- name: sham_targets
-- description: The sham targets behind the floor, and how far they move activations beside the real target.
-- parameter: run run = latest -- the run: latest, an id, or a unique beginning of one
SELECT number, seed, scale, relative_difference_pair, relative_difference_sham
FROM sham_target
WHERE run_id = (SELECT extraction_run_id FROM run WHERE run.id = $run)
ORDER BY number
