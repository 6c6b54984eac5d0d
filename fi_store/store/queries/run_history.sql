-- name: run_history
-- description: The runs in the store, newest first, with the size of the difference and the number of results.
-- parameter: k integer = 50 -- how many runs at most
-- parameter: archived boolean = false -- include archived runs
SELECT run.id AS run_id, run.created_at, run.state, run.base_reference AS base, run.target_reference AS target,
       prompt_set.name AS prompts, prompt_set.n_prompts, pair_gate.verdict, pair_gate.gap, pair_gate.kl_symmetric,
       pair_gate.agreement,
       (SELECT count(*) FROM finding WHERE finding.run_id = run.id AND tier <> 'internal_shift') AS n_results,
       (SELECT sum(value) FROM run_event WHERE run_event.run_id = run.id AND kind = 'timing') AS seconds,
       run.dtype, run.device, run.archived
FROM run
LEFT JOIN prompt_set ON prompt_set.id = run.prompt_set_id
LEFT JOIN pair_gate ON pair_gate.run_id = run.id
WHERE $archived OR NOT run.archived
ORDER BY run.id DESC
LIMIT $k
