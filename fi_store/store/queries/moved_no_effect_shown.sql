-- name: moved_no_effect_shown
-- description: Groups of features that moved, but whose change is no finding; descriptive, largest movement first.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: k integer = 10 -- how many groups at most
WITH change AS (  -- the arm that closes most of the gap, over the layers and both models, for each change
    SELECT arm.group_id, arg_max(effect.share, effect.share) AS share,
           arg_max(effect.share_low, effect.share) AS share_low, arg_max(effect.share_high, effect.share) AS share_high,
           count(DISTINCT effect.side) = 2 AND max(effect.share_high) < 0.03 AS carries_none
    FROM arm JOIN arm_effect AS effect ON effect.arm_id = arm.id AND effect.run_id = arm.run_id
    WHERE arm.run_id = $run AND arm.kind = 'change'
    GROUP BY arm.group_id
)
SELECT own.number, own.layers, own.position_class, own.n_features, effect.effect AS theta,
       effect.ci_low AS theta_low, effect.ci_high AS theta_high, effect.p_adjusted, change.share AS share_closed,
       change.share_low, change.share_high, coalesce(change.carries_none, false) AS carries_none, own.id AS group_id
FROM feature_group AS own
JOIN effect ON effect.run_id = own.run_id AND effect.group_id = own.id AND effect.category = '*'
 AND effect.half = 'C' AND effect.p_adjusted <= 0.05
LEFT JOIN change ON change.group_id = coalesce(own.leader_id, own.id)
WHERE own.run_id = $run
  AND coalesce(own.leader_id, own.id) NOT IN (SELECT group_id FROM finding WHERE run_id = $run)
ORDER BY abs(effect.effect) DESC, own.number
LIMIT $k
