-- name: internal_shifts
-- description: Version 1 only: internal changes in a pair whose behavior does not differ on these prompts; these are not results.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: k integer = 12 -- how many rows at most
SELECT rank, change, name, description, categories, layers, position_class, effect, ci_low, ci_high, floor,
       p_value, q_value, n_units, sentence, group_id
FROM finding
WHERE run_id = $run AND tier = 'internal_shift'
ORDER BY rank
LIMIT $k
