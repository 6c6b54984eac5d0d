-- name: finding_categories
-- description: Each result's contrast of one category against the rest, with its interval and p value, or why there is none.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: rank integer = null -- only the result with this rank
SELECT finding.rank, finding.name, effect.category, effect.effect AS contrast, effect.ci_low, effect.ci_high,
       effect.p_adjusted, effect.n_units, effect.note, effect.group_id
FROM effect
JOIN finding ON finding.run_id = effect.run_id AND finding.group_id = effect.group_id
WHERE effect.run_id = $run AND effect.half = 'C' AND effect.category <> '*'
  AND ($rank::BIGINT IS NULL OR finding.rank = $rank)
ORDER BY finding.rank, abs(effect.effect) DESC, effect.category
