-- name: prompt_divergence
-- description: The prompts on which the models differ most: mean symmetric KL per answer token, with both answers.
-- parameter: run run = latest -- the run: latest, an id, or a unique beginning of one
-- parameter: k integer = 10 -- how many prompts at most
-- parameter: category text = null -- only prompts of this category
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
    SELECT prompt_id, avg(kl) AS kl_symmetric, avg(agreement) AS agreement FROM texts GROUP BY prompt_id
)
SELECT prompt.category, prompt.key AS prompt, prompts.kl_symmetric, prompts.agreement, prompt.text,
       base.text AS base_answer, target.text AS target_answer, prompts.prompt_id
FROM prompts
JOIN prompt ON prompt.id = prompts.prompt_id
LEFT JOIN generation AS base
  ON base.run_id = (SELECT id FROM facts) AND base.prompt_id = prompts.prompt_id AND base.author = 'base'
LEFT JOIN generation AS target
  ON target.run_id = (SELECT id FROM facts) AND target.prompt_id = prompts.prompt_id AND target.author = 'target'
WHERE $category::VARCHAR IS NULL OR prompt.category = $category
ORDER BY prompts.kl_symmetric DESC, prompts.prompt_id
LIMIT $k
