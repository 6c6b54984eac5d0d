-- name: finding_features
-- description: The features that make up each result, with their weights; those at the layer that was tested first.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: rank integer = null -- only the result with this rank
SELECT finding.rank, finding.name, feature.id AS feature_id, feature.site, feature.layer, feature.latent,
       member.weight, member.side, feature.change, feature.theta, feature.log2_ratio, feature.position_class,
       own.number AS group_number, finding.group_id
FROM finding
JOIN feature_group AS own
  ON own.run_id = finding.run_id AND (own.id = finding.group_id OR own.leader_id = finding.group_id)
JOIN feature_group_member AS member ON member.group_id = own.id AND member.run_id = own.run_id
JOIN feature ON feature.id = member.feature_id AND feature.run_id = member.run_id
WHERE finding.run_id = $run AND ($rank::BIGINT IS NULL OR finding.rank = $rank)
ORDER BY finding.rank, feature.layer IS NOT DISTINCT FROM finding.layer DESC, own.id <> finding.group_id,
         abs(member.weight) DESC, feature.layer, feature.latent
