-- name: causal_arms
-- description: Every patch that was read on the confirmation half: the share of the gap that it closes, by layer, kind and patched model.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: rank integer = null -- only the patches of the finding with this rank
SELECT finding.rank, finding.name AS title, arm.kind, arm.site, arm.layer, arm.position_classes, effect.side,
       effect.closed, effect.share, effect.share_low, effect.share_high, effect.attributed, effect.p_value,
       effect.p_adjusted, effect.n_units, arm.n_rows, arm.n_directions, arm.group_id, arm.id AS arm_id
FROM arm_effect AS effect
JOIN arm ON arm.id = effect.arm_id AND arm.run_id = effect.run_id
LEFT JOIN feature_group AS own ON own.id = arm.group_id AND own.run_id = arm.run_id
LEFT JOIN finding ON finding.run_id = arm.run_id AND finding.group_id = coalesce(own.leader_id, arm.group_id)
WHERE effect.run_id = $run AND ($rank::BIGINT IS NULL OR finding.rank = $rank)
ORDER BY finding.rank NULLS LAST, arm.group_id NULLS LAST, arm.kind, arm.site, arm.layer,
         array_to_string(arm.position_classes, ','), effect.side, arm.id
