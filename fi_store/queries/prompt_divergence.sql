-- name: prompt_divergence
-- description: The prompts on which the models differ most: mean symmetric KL per answer token, with both answers.
-- parameter: run run = latest -- the run: latest, an id, or a unique beginning of one
-- parameter: k integer = 10 -- how many prompts at most
-- parameter: category text = null -- only prompts of this category
WITH facts AS (
    SELECT extraction_run_id AS id FROM run WHERE run.id = $run
),
texts AS (
    SELECT token.prompt_id, token.author, avg((token.kl_target_base + token.kl_base_target) / 2) AS kl,
           avg(token.agree::DOUBLE) AS agreement
    FROM token_divergence AS token
    WHERE token.run_id = (SELECT id FROM facts) AND token.position_class = 'response'
      AND token.author IN ('base', 'target')
    GROUP BY token.prompt_id, token.author
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
