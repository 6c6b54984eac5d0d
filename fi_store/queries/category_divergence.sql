-- name: category_divergence
-- description: How far the models' answers differ in each category: mean symmetric KL and agreement per answer token.
-- parameter: run run = latest -- the run: latest, an id, or a unique beginning of one
-- chart: category_divergence
WITH texts AS (
    SELECT token.prompt_id, token.author, avg((token.kl_target_base + token.kl_base_target) / 2) AS kl,
           avg(token.agree::DOUBLE) AS agreement
    FROM token_divergence AS token
    WHERE token.run_id = (SELECT extraction_run_id FROM run WHERE run.id = $run)
      AND token.position_class = 'response' AND token.author IN ('base', 'target')
    GROUP BY token.prompt_id, token.author
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
  ON base.run_id = (SELECT extraction_run_id FROM run WHERE run.id = $run)
 AND base.prompt_id = prompts.prompt_id AND base.author = 'base'
LEFT JOIN generation AS target
  ON target.run_id = base.run_id AND target.prompt_id = prompts.prompt_id AND target.author = 'target'
GROUP BY prompt.category
ORDER BY kl_symmetric DESC, prompt.category
