-- name: features_across_pairs
-- description: Named changes that recur across targets of one base, from the newest analyzed run of each pair.
-- parameter: base text = null -- only pairs whose base reference contains this text
-- parameter: min_targets integer = 1 -- only changes found in at least this many targets
WITH newest AS (
    SELECT run.id, run.base_model_id, run.base_reference, run.target_reference
    FROM run JOIN pair_gate ON pair_gate.run_id = run.id
    WHERE NOT run.archived AND ($base::VARCHAR IS NULL OR contains(run.base_reference, $base))
    QUALIFY row_number() OVER (PARTITION BY run.base_model_id, run.target_model_id ORDER BY run.id DESC) = 1
),
targets AS (
    SELECT base_model_id, count(*) AS n_targets_of_base FROM newest GROUP BY base_model_id
)
SELECT any_value(newest.base_reference) AS base, finding.name, finding.change,
       count(DISTINCT newest.id) AS n_targets, any_value(targets.n_targets_of_base) AS n_targets_of_base,
       list(newest.target_reference ORDER BY newest.id) AS targets, avg(finding.effect) AS mean_effect,
       min(finding.effect) AS smallest_effect, max(finding.effect) AS largest_effect,
       min(finding.rank) AS best_rank
FROM finding
JOIN newest ON newest.id = finding.run_id
JOIN targets USING (base_model_id)
WHERE finding.tier <> 'internal_shift' AND finding.named
GROUP BY newest.base_model_id, finding.name, finding.change
HAVING count(DISTINCT newest.id) >= $min_targets
ORDER BY n_targets DESC, best_rank, finding.name, finding.change
