-- name: layer_profile
-- description: How much of the gap between the models passes through each layer, by position class, as a share of the whole gap.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: site text = null -- only this site: resid_post, attn_out, mlp_out
WITH unit AS (
    SELECT r.extraction_run_id, u.prompt_id
    FROM run AS r JOIN run_unit AS u ON u.run_id = r.id
    WHERE r.id = $run
),
whole AS (
    SELECT sum(g.gap) AS gap
    FROM unit AS u JOIN answer_gap AS g ON g.run_id = u.extraction_run_id AND g.prompt_id = u.prompt_id
)
SELECT a.site, a.layer, a.position_class, count(DISTINCT a.prompt_id) AS n_units,
       sum(a.attribution) AS attribution, any_value(w.gap) AS gap,
       CASE WHEN any_value(w.gap) > 0 THEN sum(a.attribution) / any_value(w.gap) END AS share
FROM unit AS u
JOIN attribution AS a ON a.run_id = u.extraction_run_id AND a.prompt_id = u.prompt_id
CROSS JOIN whole AS w
WHERE $site::VARCHAR IS NULL OR a.site = $site
GROUP BY a.site, a.layer, a.position_class
ORDER BY a.site, a.layer, CASE a.position_class WHEN 'prompt' THEN 0 WHEN 'start' THEN 1 WHEN 'thinking' THEN 2 ELSE 3 END
