-- name: finding_examples
-- description: Text excerpts (confirmation half) in which a result's features fire, with both models' values at the marked token.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: rank integer = null -- only the result with this rank
-- parameter: k integer = 5 -- how many excerpts per result at most
SELECT finding.rank, finding.name, example.number, example.author, example.category, example.before, example.token,
       example.after, example.value_base, example.value_target, prompt.key AS prompt, example.group_id
FROM finding_example AS example
JOIN finding ON finding.run_id = example.run_id AND finding.group_id = example.group_id
LEFT JOIN prompt ON prompt.id = example.prompt_id
WHERE example.run_id = $run AND ($rank::BIGINT IS NULL OR finding.rank = $rank)
QUALIFY row_number() OVER (PARTITION BY example.group_id ORDER BY example.number) <= $k
ORDER BY finding.rank, example.number
