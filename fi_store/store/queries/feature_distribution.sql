-- name: feature_distribution
-- description: How many alive features of each layer are in each change class.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- chart: distribution
SELECT site, layer, change, count(*) AS n_features,
       count(*) / sum(count(*)) OVER (PARTITION BY site, layer) AS share_of_layer,
       avg(abs(theta)) AS mean_abs_theta
FROM feature
WHERE run_id = $run AND alive
GROUP BY site, layer, change
ORDER BY site, layer, change
