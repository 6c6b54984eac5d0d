-- name: category_divergence
-- description: How far the models' answers differ in each category: mean symmetric KL and agreement per answer token.
-- parameter: run run = latest -- the run: latest, an id, or a unique beginning of one
-- chart: category_divergence
WITH facts AS (
    SELECT extraction_run_id AS id FROM run WHERE run.id = $run
),
answers AS (
    SELECT prompt_id, author, position_class, next_token_id, (kl_target_base + kl_base_target) / 2 AS kl,
           agree::DOUBLE AS agree
    FROM token_divergence
    WHERE run_id = (SELECT id FROM facts) AND author IN ('base', 'target')
),
predictions AS (
    -- What predicts a token of an answer: the start position (read once, it stands before both answers) and every
    -- answer token but the last one. Gate 0 counts in the same way.
    SELECT prompt_id, author, kl, agree FROM answers WHERE position_class = 'response' AND next_token_id IS NOT NULL
    UNION ALL
    SELECT start.prompt_id, texts.author, start.kl, start.agree
    FROM answers AS start
    JOIN (SELECT DISTINCT prompt_id, author FROM answers WHERE position_class = 'response') AS texts
      ON texts.prompt_id = start.prompt_id
    WHERE start.position_class = 'start'
),
texts AS (
    SELECT prompt_id, author, avg(kl) AS kl, avg(agree) AS agreement FROM predictions GROUP BY prompt_id, author
),
prompts AS (
    SELECT prompt_id, avg(kl) AS kl, avg(agreement) AS agreement FROM texts GROUP BY prompt_id
)
SELECT prompt.category, count(*) AS n_prompts, avg(prompts.kl) AS kl_symmetric,
       stddev_samp(prompts.kl) / sqrt(count(*)) AS standard_error, avg(prompts.agreement) AS agreement,
       count(*) FILTER (base.text = target.text) AS n_same_answers
FROM prompts
JOIN prompt ON prompt.id = prompts.prompt_id
LEFT JOIN generation AS base
  ON base.run_id = (SELECT id FROM facts)
 AND base.prompt_id = prompts.prompt_id AND base.author = 'base'
LEFT JOIN generation AS target
  ON target.run_id = base.run_id AND target.prompt_id = prompts.prompt_id AND target.author = 'target'
GROUP BY prompt.category
ORDER BY kl_symmetric DESC, prompt.category
