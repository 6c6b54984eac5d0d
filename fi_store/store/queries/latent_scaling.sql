-- name: latent_scaling
-- description: Crosscoder latents that seem specific to one model, with their share in the other (nu), compared with shared ones.
-- parameter: run run = latest -- the run: latest, an id, or a unique prefix of an id
-- parameter: k integer = 30 -- how many latents at most
SELECT f.site, f.layer, f.latent, s.candidate, s.owner, s.relative_norm, s.specific, s.nu_err, s.nu_err_low,
       s.nu_err_high, s.nu_rec, s.nu_rec_low, s.nu_rec_high,
       (SELECT median(o.nu_err) FROM latent_scaling o WHERE o.run_id = s.run_id AND o.candidate = 'shared')
           AS nu_err_of_shared,
       (SELECT median(o.nu_rec) FROM latent_scaling o WHERE o.run_id = s.run_id AND o.candidate = 'shared')
           AS nu_rec_of_shared,
       s.beta_act_base, s.beta_act_target, s.n_tokens, s.n_clusters, s.feature_id
FROM latent_scaling s JOIN feature f ON f.id = s.feature_id AND f.run_id = s.run_id
WHERE s.run_id = $run
ORDER BY s.specific DESC, s.nu_err IS NULL, abs(s.nu_err), f.layer, f.latent
LIMIT $k
