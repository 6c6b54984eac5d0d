-- name: layer_similarity
-- description: How alike the two models' layers are, with 95% intervals over prompts; outside files beside our own figures.
-- parameter: run run = latest -- the run: latest, an id, or a unique beginning of one
-- parameter: metric text = null -- only this metric: cka, cosine, relative_difference, similarity, difference
-- parameter: position_class text = null -- only this place in the text: prompt, start, response
-- chart: layer_similarity
SELECT source, metric, site, label, position_class, layer_base, layer_target, value, ci_low, ci_high, n_units
FROM layer_similarity
WHERE run_id = $run
  AND ($metric::VARCHAR IS NULL OR metric = $metric)
  AND ($position_class::VARCHAR IS NULL OR position_class = $position_class)
ORDER BY source DESC, metric, site, position_class, layer_base, layer_target, label
