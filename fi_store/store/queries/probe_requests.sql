-- name: probe_requests
-- description: The requests to run the models again, by kind, patched model and state.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
SELECT kind, side, state, reason, count(*) AS n_requests, sum(len(prompt_ids))::BIGINT AS n_prompts
FROM probe_request
WHERE run_id = $run
GROUP BY kind, side, state, reason
ORDER BY kind, side, state, reason
