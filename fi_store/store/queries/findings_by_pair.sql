-- name: findings_by_pair
-- description: The results of every model pair in the store, from the newest analyzed run of each pair.
-- parameter: base text = null -- only pairs whose base reference contains this text
-- parameter: target text = null -- only pairs whose target reference contains this text
-- parameter: k integer = 5 -- how many results per pair at most
WITH newest AS (
    SELECT run.id, run.base_reference, run.target_reference, run.created_at, pair_gate.verdict
    FROM run JOIN pair_gate ON pair_gate.run_id = run.id
    WHERE NOT run.archived
      AND ($base::VARCHAR IS NULL OR contains(run.base_reference, $base))
      AND ($target::VARCHAR IS NULL OR contains(run.target_reference, $target))
    QUALIFY row_number() OVER (PARTITION BY run.base_model_id, run.target_model_id ORDER BY run.id DESC) = 1
)
SELECT newest.base_reference AS base, newest.target_reference AS target, newest.verdict, finding.rank, finding.tier,
       finding.change, finding.name, finding.categories, finding.layers, finding.effect, finding.ci_low,
       finding.ci_high, finding.p_value, finding.n_units, finding.share_closed, finding.share_low, finding.share_high,
       newest.id AS run_id
FROM newest LEFT JOIN finding
  ON finding.run_id = newest.id AND finding.tier <> 'internal_shift' AND finding.rank <= $k
ORDER BY base, target, finding.rank
