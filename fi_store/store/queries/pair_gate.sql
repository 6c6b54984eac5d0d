-- name: pair_gate
-- description: Whether the pair's behavior differs at all: the gap, KL and agreement on the confirmation half.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
SELECT gate.verdict, gate.gap, gate.gap_low, gate.gap_high, gate.kl_symmetric, gate.kl_low, gate.kl_high,
       gate.agreement, gate.n_units, plan.smallest_detectable, plan.opened_before
FROM pair_gate AS gate LEFT JOIN analysis_plan AS plan USING (run_id)
WHERE gate.run_id = $run
