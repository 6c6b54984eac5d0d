-- name: feature_category_heatmap
-- description: Each result's mean effect in every prompt category (confirmation half), with its contrast test if there was one.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: k integer = 12 -- how many results at most
-- chart: heatmap
WITH results AS (
    SELECT group_id, rank, tier, change, name, position_class FROM finding WHERE run_id = $run ORDER BY rank LIMIT $k
),
means AS (
    SELECT results.group_id, summary.category,
           sum(member.weight * summary.sum_theta / summary.n) AS effect, max(summary.n) AS n_units
    FROM results
    JOIN feature_group_member AS member ON member.group_id = results.group_id AND member.run_id = $run
    JOIN feature_summary AS summary
      ON summary.run_id = $run AND summary.feature_id = member.feature_id
     AND summary.position_class = results.position_class AND summary.half = 'C' AND summary.category <> '*'
    WHERE summary.n > 0
    GROUP BY results.group_id, summary.category
)
SELECT results.rank, results.tier, results.change, results.name, means.category, means.effect, means.n_units,
       effect.effect AS contrast, effect.ci_low AS contrast_low, effect.ci_high AS contrast_high,
       effect.p_adjusted AS contrast_p, effect.note, results.group_id
FROM results
JOIN means USING (group_id)
LEFT JOIN effect
  ON effect.run_id = $run AND effect.group_id = results.group_id AND effect.category = means.category
 AND effect.half = 'C'
ORDER BY results.rank, means.category
