-- name: category_discrimination
-- description: How far apart the models are in each category, furthest first, and the smallest effect that a test could detect.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- chart: category_discrimination
WITH answers AS (
    SELECT * FROM generation WHERE run_id = (SELECT extraction_run_id FROM run WHERE run.id = $run)
),
same AS (
    SELECT base.prompt_id, base.text = target.text AS answer, base_grade.correct IS DISTINCT FROM target_grade.correct
           AND base_grade.prompt_id IS NOT NULL AS grades_differ
    FROM answers AS base
    JOIN answers AS target ON target.prompt_id = base.prompt_id AND target.author = 'target'
    LEFT JOIN answer_grade AS base_grade
      ON base_grade.run_id = $run AND base_grade.prompt_id = base.prompt_id AND base_grade.author = 'base'
    LEFT JOIN answer_grade AS target_grade
      ON target_grade.run_id = $run AND target_grade.prompt_id = base.prompt_id AND target_grade.author = 'target'
    WHERE base.author = 'base'
),
counted AS (
    SELECT prompt.category, count(*) FILTER (same.answer) AS n_same_answers,
           count(*) FILTER (same.grades_differ) AS n_grades_differ
    FROM prompt_discrimination AS found
    JOIN prompt ON prompt.id = found.prompt_id
    LEFT JOIN same ON same.prompt_id = found.prompt_id
    WHERE found.run_id = $run
    GROUP BY prompt.category
)
SELECT found.category, found.n_prompts, found.kl_symmetric, found.kl_low, found.kl_high, found.share, found.gap,
       found.agreement, found.relative_difference, counted.n_same_answers, counted.n_grades_differ, found.n_clusters,
       found.n_clusters_c, found.smallest_detectable
FROM category_discrimination AS found
JOIN counted USING (category)
WHERE found.run_id = $run
ORDER BY found.kl_symmetric DESC, found.category
