-- name: prompt_discrimination
-- description: How far apart the models are on each prompt, furthest first: KL, gap, activations, grades, both answers.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: k integer = 10 -- how many prompts at most
-- parameter: category text = null -- only prompts of this category
WITH grades AS (
    SELECT prompt_id, author,
           CASE WHEN correct IS NULL THEN 'unread' WHEN correct THEN 'right' ELSE 'wrong' END AS grade
    FROM answer_grade WHERE run_id = $run
),
answers AS (
    SELECT * FROM generation WHERE run_id = (SELECT extraction_run_id FROM run WHERE run.id = $run)
)
SELECT row_number() OVER (ORDER BY found.kl_symmetric DESC, found.prompt_id) AS rank, prompt.category,
       prompt.key AS prompt, prompt.difficulty, found.kl_symmetric, found.agreement, found.gap,
       found.relative_difference, base_grade.grade AS base_grade, target_grade.grade AS target_grade,
       base_grade.grade <> target_grade.grade AS grades_differ, prompt.text, substr(base.text, base.answer_start + 1) AS base_answer,
       substr(target.text, target.answer_start + 1) AS target_answer, found.prompt_id,
       left(base.text, coalesce(base.answer_start, length(base.text))) AS base_thinking,
       left(target.text, coalesce(target.answer_start, length(target.text))) AS target_thinking
FROM prompt_discrimination AS found
JOIN prompt ON prompt.id = found.prompt_id
LEFT JOIN grades AS base_grade ON base_grade.prompt_id = found.prompt_id AND base_grade.author = 'base'
LEFT JOIN grades AS target_grade ON target_grade.prompt_id = found.prompt_id AND target_grade.author = 'target'
LEFT JOIN answers AS base ON base.prompt_id = found.prompt_id AND base.author = 'base'
LEFT JOIN answers AS target ON target.prompt_id = found.prompt_id AND target.author = 'target'
WHERE found.run_id = $run
QUALIFY $category::VARCHAR IS NULL OR prompt.category = $category
ORDER BY rank
LIMIT $k
