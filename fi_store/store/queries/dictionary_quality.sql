-- name: dictionary_quality
-- description: How much of the gap each layer's dictionary closes, beside the whole difference and the mean shift, and how well it reconstructs.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
WITH arm_mean AS (  -- the mean of both patched models
    SELECT arm.id, arm.kind, arm.site, arm.layer, arm.position_classes, avg(effect.share) AS share
    FROM arm JOIN arm_effect AS effect ON effect.arm_id = arm.id AND effect.run_id = arm.run_id
    WHERE arm.run_id = $run AND arm.kind IN ('dictionary', 'whole', 'mean_shift')
    GROUP BY ALL
),
widest AS (  -- a layer's arms patch different position classes; what another arm patches too is not counted twice
    SELECT * FROM arm_mean
    WHERE NOT EXISTS (
        FROM arm_mean AS other
        WHERE other.kind = arm_mean.kind AND other.site = arm_mean.site AND other.layer = arm_mean.layer
          AND len(other.position_classes) > len(arm_mean.position_classes)
          AND list_has_all(other.position_classes, arm_mean.position_classes)
    )
),
closed AS (
    SELECT site, layer, sum(share) FILTER (kind = 'dictionary') AS by_dictionary,
           sum(share) FILTER (kind = 'whole') AS by_whole, sum(share) FILTER (kind = 'mean_shift') AS by_mean_shift
    FROM widest GROUP BY site, layer
)
SELECT d.site, d.layer, closed.by_dictionary AS share_dictionary, closed.by_whole AS share_whole,
       closed.by_mean_shift AS share_mean_shift, d.dark_matter, d.mean_shift,
       1 - d.dark_matter - d.mean_shift AS beyond_mean_shift, d.ev_base_d, d.ev_target_d, d.ev_base_c, d.ev_target_c,
       d.loss_recovered_base, d.loss_recovered_target, d.l0_base, d.l0_target, d.dead_share,
       d.kind, d.n_latents, d.k, d.seed, d.steps, d.n_rows, d.threshold, d.id AS dictionary_id
FROM dictionary AS d
LEFT JOIN closed ON closed.site = d.site AND closed.layer = d.layer
WHERE d.run_id = $run
ORDER BY d.site, d.layer
