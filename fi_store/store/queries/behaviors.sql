-- name: behaviors
-- description: What the answers do differently: the confirmed differences first, then those that were seen and not confirmed.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
SELECT number, title, sentence, phrase, words, concept, kind, side, base, base_low, base_high, target, target_low, target_high,
       n_clusters, ahead, behind, p_adjusted, confirmed, tested, base_discovery, target_discovery,
       ahead_discovery, behind_discovery, p_discovery, z,
       predicate
FROM behavior
WHERE run_id = $run
ORDER BY confirmed DESC, kind IN ('length', 'unfinished'), abs(target - base) DESC, number
