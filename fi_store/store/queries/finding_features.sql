-- name: finding_features
-- description: The features that make up each result, with their weights.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: rank integer = null -- only the result with this rank
SELECT finding.rank, finding.name, feature.id AS feature_id, feature.site, feature.layer, feature.latent,
       member.weight, member.side, feature.change, feature.theta, feature.log2_ratio, feature.position_class,
       member.group_id
FROM feature_group_member AS member
JOIN finding ON finding.group_id = member.group_id AND finding.run_id = member.run_id
JOIN feature ON feature.id = member.feature_id AND feature.run_id = member.run_id
WHERE member.run_id = $run AND ($rank::BIGINT IS NULL OR finding.rank = $rank)
ORDER BY finding.rank, abs(member.weight) DESC, feature.layer, feature.latent
