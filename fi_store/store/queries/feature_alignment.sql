-- name: feature_alignment
-- description: Mean activity and decoder norm of every alive feature in the base and in the target (confirmation half).
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: points integer = 700 -- how many features at most, largest effects first
-- chart: alignment
WITH named AS (
    SELECT member.feature_id, min(finding.rank) AS rank, arg_min(finding.name, finding.rank) AS name
    FROM finding
    JOIN feature_group AS own
      ON own.run_id = finding.run_id AND (own.id = finding.group_id OR own.leader_id = finding.group_id)
    JOIN feature_group_member AS member ON member.group_id = own.id AND member.run_id = own.run_id
    WHERE finding.run_id = $run
    GROUP BY member.feature_id
)
SELECT feature.id AS feature_id, feature.site, feature.layer, feature.latent, feature.position_class, feature.change,
       summary.mean_base, summary.mean_target, feature.decoder_norm_base, feature.decoder_norm_target,
       feature.theta, named.rank, named.name
FROM feature
JOIN feature_summary AS summary
  ON summary.run_id = $run AND summary.feature_id = feature.id
 AND summary.position_class = feature.position_class AND summary.category = '*' AND summary.half = 'C'
LEFT JOIN named ON named.feature_id = feature.id
WHERE feature.run_id = $run AND feature.alive
ORDER BY named.rank NULLS LAST, abs(feature.theta) DESC NULLS LAST, feature.id
LIMIT $points
