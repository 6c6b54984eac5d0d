-- name: run_models
-- description: The two models of a run, with the fingerprints of their weights, tokenizer and template.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
SELECT roles.role, coalesce(roles.reference, model.reference) AS reference, model.kind, model.revision,
       model.architecture, model.n_layers, model.d_model, model.vocab_size, model.n_parameters, model.weights_hash,
       model.tokenizer_hash, model.template_hash
FROM (
    SELECT 1 AS number, 'base' AS role, base_model_id AS model_id, base_reference AS reference FROM run WHERE id = $run
    UNION ALL
    SELECT 2, 'target', target_model_id, target_reference FROM run WHERE id = $run
) AS roles
JOIN model ON model.id = roles.model_id
ORDER BY roles.number
