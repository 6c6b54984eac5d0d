-- name: exploration
-- description: NOT EVIDENCE: features by category on the discovery half, which the search itself used. It is for ideas.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: k integer = 50 -- how many rows at most
-- parameter: category text = null -- only this category ('*' means all categories together)
-- parameter: layer integer = null -- only this layer
SELECT 'exploration, not evidence' AS note, layer, latent, position_class, category, n, n_nonzero,
       sum_theta / n AS mean_theta, mean_base, mean_target, max_abs_theta, feature_id
FROM feature_summary
WHERE run_id = $run AND half = 'D' AND n > 0
  AND ($category::VARCHAR IS NULL OR category = $category)
  AND ($layer::BIGINT IS NULL OR layer = $layer)
ORDER BY abs(sum_theta / n) DESC, feature_id, position_class, category
LIMIT $k
