-- name: behavior_rates
-- description: The rates of every difference between the answers, by category of prompts, on the confirmation half.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
SELECT rate.number, behavior.phrase, rate.category, rate.n_clusters, rate.base, rate.base_low, rate.base_high,
       rate.target, rate.target_low, rate.target_high
FROM behavior_rate AS rate JOIN behavior USING (run_id, number)
WHERE run_id = $run
ORDER BY rate.number, abs(rate.target - rate.base) DESC, rate.category
