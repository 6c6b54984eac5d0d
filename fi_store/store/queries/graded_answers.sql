-- name: graded_answers
-- description: Every graded answer: right, wrong or unread, with the answer that was read and the right one.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: category text = null -- only prompts of this category
-- parameter: author text = null -- only the answers of base or target
-- parameter: grade text = null -- only answers that are right, wrong or unread
WITH graded AS (
    SELECT *, CASE WHEN correct IS NULL THEN 'unread' WHEN correct THEN 'right' ELSE 'wrong' END AS grade
    FROM answer_grade WHERE run_id = $run
)
SELECT prompt.category, prompt.key AS prompt, prompt.difficulty, graded.author, graded.grade, graded.extracted,
       prompt.answer AS right_answer, graded.how, NOT graded.finished AS cut_off,
       substr(generation.text, generation.answer_start + 1) AS reply,
       left(generation.text, coalesce(generation.answer_start, length(generation.text))) AS thinking, graded.prompt_id
FROM graded
JOIN prompt ON prompt.id = graded.prompt_id
LEFT JOIN generation
  ON generation.run_id = (SELECT extraction_run_id FROM run WHERE run.id = $run)
 AND generation.prompt_id = graded.prompt_id AND generation.author = graded.author
WHERE ($category::VARCHAR IS NULL OR prompt.category = $category)
  AND ($author::VARCHAR IS NULL OR graded.author = $author)
  AND ($grade::VARCHAR IS NULL OR graded.grade = $grade)
ORDER BY prompt.category, prompt.key, graded.author
