-- name: feature_callouts
-- description: Alive features by activity ratio and layer, with the rank and name of their result; one feature per result gets the box.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: points integer = 700 -- how many features at most; features of results first, then largest effects first
-- chart: callouts
WITH members AS (
    SELECT member.feature_id, finding.group_id, member.weight, member.side, finding.rank, finding.tier,
           finding.change AS result_change, finding.name, finding.named, finding.effect AS result_effect,
           row_number() OVER (PARTITION BY member.feature_id ORDER BY finding.rank) AS result_number,
           row_number() OVER (
               PARTITION BY finding.group_id
               ORDER BY feature.layer IS NOT DISTINCT FROM finding.layer DESC, own.id <> finding.group_id,
                        abs(member.weight) DESC, member.feature_id
           ) = 1 AS boxed
    FROM finding
    JOIN feature_group AS own
      ON own.run_id = finding.run_id AND (own.id = finding.group_id OR own.leader_id = finding.group_id)
    JOIN feature_group_member AS member ON member.group_id = own.id AND member.run_id = own.run_id
    JOIN feature ON feature.id = member.feature_id AND feature.run_id = member.run_id
    WHERE finding.run_id = $run
)
SELECT feature.id AS feature_id, feature.site, feature.layer, feature.latent, feature.position_class, feature.change,
       feature.theta, feature.log2_ratio, members.group_id, members.rank, members.tier, members.result_change,
       members.name, members.named, members.result_effect, members.weight, members.side,
       coalesce(members.boxed, false) AS boxed
FROM feature LEFT JOIN members ON members.feature_id = feature.id AND (members.result_number = 1 OR members.boxed)
WHERE feature.run_id = $run AND feature.alive
ORDER BY members.rank NULLS LAST, boxed DESC, abs(feature.theta) DESC NULLS LAST, feature.id
LIMIT $points
