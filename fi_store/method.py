"""The constants of the method, each with its meaning. docs/METHOD.md and bench/LOG.md say how they were chosen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """The method's thresholds, each with its meaning. Formulas are in the code that uses them."""

    alpha: float = 0.05
    """Level for the adjusted p on the confirmation half and for the one-sided limits of names."""
    alive_tokens: int = 12
    """Firing tokens on D that a feature needs for a meaningful scale."""
    enough_clusters: int = 12
    """Clusters that either half should have, so that a difference in most of them can be confirmed."""
    min_category_clusters: int = 8
    """Confirmation clusters that a category needs for a p value; with fewer there is only an interval."""
    category_permutations: int = 9_999
    """Label permutations in the test of a category contrast."""
    bootstrap_draws: int = 2_000
    """Bootstrap draws over clusters for every interval."""
    gate0_kl_upper: float = 0.02
    """Largest upper 95% limit of the mean symmetric KL (nats/token) at which behavior can count as unchanged."""
    gate0_agreement: float = 0.95
    """Smallest share of positions with the same most likely token at which behavior can count as unchanged."""
    basis_apart: float = 0.5
    """Median relative difference norm needed to warn that two models which behave alike may use different bases."""
    basis_cka: float = 0.95
    """Median CKA of the layers needed for the same warning."""
    candidate_share: float = 0.002
    """Smallest share of a gap that a feature must hold on D to be a candidate."""
    group_token_cosine: float = 0.6
    """Cosine of token-level attribution at which two features of a layer are joined."""
    effect_cosine: float = 0.6
    """Cosine of what patches do to the answers' tokens at which two groups without a behavior are one change."""
    patched_prompts: int = 16
    """Prompts of D on which every group is patched, and of C on which patches that only describe a layer are."""
    max_changes: int = 6
    """The most changes that go on to the confirmation half."""
    told_layer_share: float = 0.5
    """A change is tested at the earliest layer whose attribution on D is this share of its largest."""
    control_draws: int = 999
    """Random directions that a change's features are compared with."""
    control_level: float = 0.95
    """The quantile of the draws (on D) that is patched exactly."""
    gap_minimum: float = 0.01
    """Nats per token that the mean gap must surely exceed, and that a finding must close."""
    behavior_share: float = 0.2
    """Share of its behavior that a finding must close if it closes too little of the gap."""
    carries_none: float = 0.03
    """A change carries none of the difference if the upper limit of its share is below this."""
    absent_rate: float = 0.05
    """A behavior is new or gone if the upper limit of the other model's rate is at most this, ..."""
    absent_part: float = 0.1
    """... or this part of the model's own rate."""
    generated_prompts: int = 20
    """Prompts of C that are answered under a patch."""
    generated_findings: int = 2
    """How many findings' patches are answered under by default."""
    behavior_clusters: int = 8
    """Clusters where exactly one answer has a behavior that its share needs."""
    group_decoder_cosine: float = 0.7
    """Decoder cosine at which two features of the same layer are joined."""
    recurrence_cosine: float = 0.7
    """Cosine between a group's leading direction and another seed's group at which the group recurs."""
    pretrained_explained: float = 0.2
    """Explained variance on D, in each model, that a pretrained dictionary needs to replace a learned one."""
    ratio_epsilon: float = 0.01
    """Share of the median activity that is added to both sides of a ratio."""
    ratio_shared: float = 1.25
    """A ratio is 'shared' if its whole 90% interval is inside [1/x, x]; beyond, 'strengthened' or 'weakened'."""
    ratio_added: float = 5.0
    """Ratio at which a feature can be 'added' or 'removed', if the other model's residuals cannot predict it. If a
    crosscoder's latent scaling was measured, that decides instead."""
    readable_auc: float = 0.9
    """AUC at which a model's residuals predict where a feature fires. For 'added' or 'removed', the owner's must reach
    it and the other's must not."""
    redirected_share: float = 0.25
    """Paired SAE, 'redirected': minimum share of a group's weight on its falling side and on its rising side."""
    redirected_follows: float = 0.7
    """Paired SAE, 'redirected': minimum token-level correlation of the falling side (base) with the rising (target)."""
    redirected_apart: float = 0.3
    """Paired SAE, 'redirected': within each model the two sides must correlate by less than this."""
    redirected_length: float = 2.0
    """Crosscoder, 'redirected': largest ratio between the lengths of what a group adds to either model."""
    redirected_cosine: float = 0.7
    """Crosscoder, 'redirected': the cosine between the two must be below this."""
    redirected_angles: float = 2.0
    """Crosscoder, 'redirected': the angle between the two must exceed this many times the angle between halves of C."""
    scaling_nu_error: float = 0.2
    """Crosscoder: a latent is specific to one model only if |nu| of the error is below this."""
    scaling_nu_reconstruction: float = 0.5
    """Crosscoder: a latent is specific to one model only if |nu| of the reconstruction is below this."""
    scaling_own_low: float = 0.1
    """Latent scaling: nu is meaningful only if the lower limit of the owner's beta exceeds this."""
    scaling_tokens: int = 200
    """Latent scaling: firing tokens of C that a latent needs."""
    scaling_clusters: int = 12
    """Latent scaling: clusters of C that a latent must fire in."""
    relative_norm_specific: float = 0.9
    """Relative decoder norm above which a crosscoder's latent may be the target's alone (below 1 - x: the base's)."""
    relative_norm_shared: float = 0.1
    """Largest distance from 1/2 at which a relative decoder norm counts as shared."""
    name_auc_random_low: float = 0.75
    """A name needs at least this lower limit of the AUC against random negatives."""
    name_auc_hard_low: float = 0.60
    """A name needs at least this lower limit of the mean AUC against hard negatives."""
    name_margin: float = 0.05
    """A name must beat the best single token and the position class by this much."""
    match_stable: float = 0.7
    """Decoder cosine (across spaces: profile correlation) at which a matched result is 'stable' in the later run."""
    match_minimum: float = 0.5
    """Mean of decoder cosine and profile correlation that two runs' results need to be matched at all."""
    match_shared_prompts: int = 8
    """Shared prompts needed to compare profiles prompt by prompt instead of category by category."""
    max_behaviors: int = 12
    """The most differences between the answers that go on to the confirmation half."""
    stored_tokens: int = 20
    """Tokens with the largest KL contribution stored per position and direction."""


METHOD = Method()
