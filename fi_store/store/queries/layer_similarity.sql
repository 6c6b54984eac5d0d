-- name: layer_similarity
-- description: How similar the two models' layers are, with 95% intervals over prompts, including values from outside files.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: metric text = null -- only this metric: cka, cosine, relative_difference, similarity, difference
-- parameter: position_class text = null -- only this position class: prompt, start, thinking, response
-- chart: layer_similarity
SELECT source, metric, site, label, position_class, layer_base, layer_target, value, ci_low, ci_high, n_units
FROM layer_similarity
WHERE run_id = $run
  AND ($metric::VARCHAR IS NULL OR metric = $metric)
  AND ($position_class::VARCHAR IS NULL OR position_class = $position_class)
ORDER BY source DESC, metric, site, position_class, layer_base, layer_target, label
