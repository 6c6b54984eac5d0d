-- name: feature_callouts
-- description: Alive features by activity ratio and layer, with the rank and name of their result; one feature per result gets the box.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: points integer = 700 -- how many features at most; features of results first, then largest effects first
-- chart: callouts
WITH members AS (
    SELECT member.feature_id, member.group_id, member.weight, member.side, finding.rank, finding.tier,
           finding.change AS result_change, finding.name, finding.named, finding.effect AS result_effect,
           row_number() OVER (PARTITION BY member.feature_id ORDER BY finding.rank) AS result_number,
           row_number() OVER (PARTITION BY member.group_id ORDER BY abs(member.weight) DESC, member.feature_id) = 1 AS boxed
    FROM feature_group_member AS member
    JOIN finding ON finding.group_id = member.group_id AND finding.run_id = $run
    WHERE member.run_id = $run
)
SELECT feature.id AS feature_id, feature.site, feature.layer, feature.latent, feature.position_class, feature.change,
       feature.theta, feature.log2_ratio, members.group_id, members.rank, members.tier, members.result_change,
       members.name, members.named, members.result_effect, members.weight, members.side,
       coalesce(members.boxed, false) AS boxed
FROM feature LEFT JOIN members ON members.feature_id = feature.id AND (members.result_number = 1 OR members.boxed)
WHERE feature.run_id = $run AND feature.alive
ORDER BY members.rank NULLS LAST, boxed DESC, abs(feature.theta) DESC NULLS LAST, feature.id
LIMIT $points
