-- name: answer_endings
-- description: How each model's own answers end: by themselves, at the token limit, empty, or still thinking.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
SELECT author, count(*) AS n_answers, count(*) FILTER (NOT finished) AS n_cut_off,
       count(*) FILTER (answer_start IS NOT NULL AND trim(substr(text, answer_start + 1)) = '') AS n_empty,
       count(*) FILTER (answer_start IS NULL AND NOT finished) AS n_thinking, median(n_tokens) AS median_tokens
FROM generation
WHERE run_id = (SELECT extraction_run_id FROM run WHERE id = $run)
GROUP BY author
ORDER BY author
