-- name: dictionary_quality
-- description: How well each layer's dictionary reconstructs the activations, starting with what it misses ("dark matter").
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
WITH loss AS (
    SELECT request_id, reader,
           sum(loss * n_tokens) FILTER (arm = 'clean') / sum(n_tokens) FILTER (arm = 'clean') AS clean,
           sum(loss * n_tokens) FILTER (arm = 'spliced') / sum(n_tokens) FILTER (arm = 'spliced') AS spliced,
           sum(loss * n_tokens) FILTER (arm = 'ablated') / sum(n_tokens) FILTER (arm = 'ablated') AS ablated
    FROM intervention
    WHERE run_id = $run
    GROUP BY request_id, reader
),
splice AS (
    SELECT r.dictionary_id, l.reader, l.spliced - l.clean AS added,
           CASE WHEN l.ablated > l.clean THEN 1 - (l.spliced - l.clean) / (l.ablated - l.clean) END AS recovered
    FROM probe_request AS r JOIN loss AS l ON l.request_id = r.id
    WHERE r.kind = 'splice'
)
SELECT d.site, d.layer, d.dark_matter, d.mean_shift, 1 - d.dark_matter - d.mean_shift AS beyond_mean_shift,
       d.ev_base_d, d.ev_target_d, d.ev_base_c, d.ev_target_c,
       b.recovered AS loss_recovered_base, t.recovered AS loss_recovered_target,
       b.added AS loss_added_base, t.added AS loss_added_target,
       a.state AS probe, len(a.prompt_ids) AS probe_prompts,
       d.l0_base, d.l0_target, d.dead_share,
       d.kind, d.n_latents, d.k, d.seed, d.steps, d.n_rows, d.threshold, d.id AS dictionary_id
FROM dictionary AS d
LEFT JOIN splice AS b ON b.dictionary_id = d.id AND b.reader = 'base'
LEFT JOIN splice AS t ON t.dictionary_id = d.id AND t.reader = 'target'
LEFT JOIN probe_request AS a ON a.dictionary_id = d.id AND a.kind = 'splice'
WHERE d.run_id = $run
ORDER BY d.site, d.layer
