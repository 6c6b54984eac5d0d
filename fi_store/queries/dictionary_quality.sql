-- name: dictionary_quality
-- description: How well each layer's dictionary reads the activations; what it cannot reach ("dark matter") stands first.
-- parameter: run run = latest -- the run: latest, an id, or a unique beginning of one
SELECT site, layer, dark_matter, mean_shift, 1 - dark_matter - mean_shift AS beyond_mean_shift,
       ev_base_d, ev_target_d, ev_base_c, ev_target_c, l0_base, l0_target, dead_share,
       kind, n_latents, k, seed, steps, n_rows, threshold, id AS dictionary_id
FROM dictionary
WHERE run_id = $run
ORDER BY site, layer
