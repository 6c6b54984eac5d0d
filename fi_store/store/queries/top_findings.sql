-- name: top_findings
-- description: What changed and what carries it: the run's results that held on prompts not used to find them, strongest first.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: k integer = 12 -- how many results at most
-- chart: callouts
SELECT rank, tier, change, name, description, categories, promoted_tokens, suppressed_tokens, trigger_tokens,
       layers, effect, ci_low, ci_high, p_value, q_value, n_units, share_closed, share_low, causal_status, sentence,
       floor, position_class, named, category_p, log2_ratio, log2_low, log2_high, rate_base, rate_target, rate_p,
       words, phrase, behavior, rate_patched, rate_control, rate_clean, n_generated, share_high, share_control,
       share_behavior, ceiling, side, layer, change_inside, features,
       (SELECT recurrence FROM feature_group g WHERE g.id = finding.group_id AND g.run_id = finding.run_id)
           AS recurrence,
       group_id, run_id
FROM finding
WHERE run_id = $run AND tier <> 'internal_shift'
ORDER BY rank
LIMIT $k
