-- name: unlocated_behaviors
-- description: Confirmed differences between the answers that no finding carries, with the most that one closes of them.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
WITH part AS (  -- what a finding tells is carried by it, whatever its share
    SELECT share.behavior AS number, finding.rank, share.share, share.share_low, share.share_high,
           (share.share >= 0.2 AND share.share_low > 0) OR coalesce(finding.behavior = share.behavior, false) AS located
    FROM finding JOIN behavior_share AS share USING (run_id, group_id)
    WHERE finding.run_id = $run
    UNION ALL
    SELECT finding.behavior, finding.rank, NULL, NULL, NULL, true
    FROM finding ANTI JOIN behavior_share AS share USING (run_id, group_id, behavior)
    WHERE finding.run_id = $run AND finding.behavior IS NOT NULL
),
best AS (
    SELECT number, bool_or(located) AS located, max(share) AS share, arg_max(share_low, share) AS share_low,
           arg_max(share_high, share) AS share_high, arg_max(rank, share) AS rank
    FROM part GROUP BY number
)
SELECT behavior.number, behavior.title, behavior.sentence, behavior.phrase, behavior.words, behavior.kind,
       behavior.side, behavior.base, behavior.base_low, behavior.base_high, behavior.target, behavior.target_low,
       behavior.target_high, behavior.n_clusters, behavior.p_adjusted, best.share, best.share_low, best.share_high,
       best.rank
FROM behavior LEFT JOIN best USING (number)
WHERE behavior.run_id = $run AND behavior.confirmed AND NOT coalesce(best.located, false)
ORDER BY behavior.kind IN ('length', 'unfinished'), abs(behavior.target - behavior.base) DESC, behavior.number
