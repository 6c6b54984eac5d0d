-- name: accuracy_by_category
-- description: How often each model is right in each category, with 95% intervals and the paired difference.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
SELECT name AS category, * EXCLUDE (run_id, part, name)
FROM accuracy
WHERE run_id = $run AND part = 'category'
ORDER BY category
