-- name: finding_answers
-- description: Held-out prompts of each finding with both models' answers, and the answers with its patch on and with the control's.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: rank integer = null -- only the finding with this rank
-- parameter: k integer = 20 -- how many prompts per finding at most
WITH result AS (
    SELECT finding.rank, finding.name, finding.group_id, run.extraction_run_id,
           coalesce(behavior.side, finding.side) AS side
    FROM finding
    JOIN run ON run.id = finding.run_id
    LEFT JOIN behavior ON behavior.run_id = finding.run_id AND behavior.number = finding.behavior
    WHERE finding.run_id = $run AND finding.tier = 'finding' AND ($rank::BIGINT IS NULL OR finding.rank = $rank)
),
patched AS (
    SELECT result.rank, answer.prompt_id, any_value(request.side) AS side,
           any_value(coalesce(substr(answer.text, answer.answer_start + 1), '')) FILTER (arm.kind = 'change') AS changed,
           any_value(coalesce(substr(answer.text, answer.answer_start + 1), '')) FILTER (arm.kind = 'control') AS controlled
    FROM result
    JOIN arm ON arm.run_id = $run AND arm.group_id = result.group_id
    JOIN probe_request AS request ON request.arm_id = arm.id AND request.run_id = $run
     AND request.kind = 'generate' AND request.side = result.side
    JOIN patched_answer AS answer ON answer.request_id = request.id
    WHERE arm.kind IN ('change', 'control')
    GROUP BY result.rank, answer.prompt_id
)
SELECT result.rank, result.name, prompt.key AS prompt, prompt.category, prompt.text, substr(base.text, base.answer_start + 1) AS base_answer,
       substr(target.text, target.answer_start + 1) AS target_answer, patched.side AS patched_side, patched.changed AS patched_answer,
       patched.controlled AS control_answer, unit.prompt_id, result.group_id,
       left(base.text, coalesce(base.answer_start, length(base.text))) AS base_thinking,
       left(target.text, coalesce(target.answer_start, length(target.text))) AS target_thinking
FROM result
JOIN run_unit AS unit ON unit.run_id = $run AND unit.half = 'C'
JOIN prompt ON prompt.id = unit.prompt_id
JOIN generation AS base ON base.run_id = result.extraction_run_id AND base.prompt_id = unit.prompt_id
 AND base.author = 'base'
JOIN generation AS target ON target.run_id = result.extraction_run_id AND target.prompt_id = unit.prompt_id
 AND target.author = 'target'
LEFT JOIN patched ON patched.rank = result.rank AND patched.prompt_id = unit.prompt_id
QUALIFY row_number() OVER (PARTITION BY result.rank ORDER BY patched.changed IS NULL, unit.unit) <= $k
ORDER BY result.rank, patched.changed IS NULL, unit.unit
