"""The constants of the method, each with its meaning. docs/METHOD.md and bench/LOG.md say how they were chosen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """The method's thresholds, each with its meaning. Formulas are in the code that uses them."""

    alpha: float = 0.05
    """Level for the adjusted p on the confirmation half and for the one-sided limits of words and names."""
    floor_minimum: float = 0.01
    """Smallest absolute mean theta that counts as a difference."""
    alive_tokens: int = 12
    """Firing tokens on D that a feature needs for a meaningful scale."""
    min_nonzero_clusters: int = 12
    """Clusters with theta != 0 that a group needs to be tested; with fewer it is too rare."""
    min_category_clusters: int = 8
    """Confirmation clusters that a category needs for a p value; with fewer there is only an interval."""
    sign_flips: int = 9_999
    """Random sign flips (by cluster) in the confirmation test."""
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
    group_token_cosine: float = 0.6
    """Cosine of token-level differences at which two features are joined, within and across layers."""
    group_unit_cosine: float = 0.9
    """Cosine of two groups' scores over the prompts of D at which they are reported as one change."""
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
    word_prompts: int = 3
    """Prompt families in which a word must be pushed to be listed."""
    word_share: float = 0.02
    """A word with this share of what a group pushes one way in its own position class is judged by that class alone."""
    match_stable: float = 0.7
    """Decoder cosine (across spaces: profile correlation) at which a matched result is 'stable' in the later run."""
    match_minimum: float = 0.5
    """Mean of decoder cosine and profile correlation that two runs' results need to be matched at all."""
    match_shared_prompts: int = 8
    """Shared prompts needed to compare profiles prompt by prompt instead of category by category."""
    max_behaviors: int = 12
    """The most differences between the answers that go on to the confirmation half."""
    max_results: int = 12
    """The most results that a run reports."""
    stored_tokens: int = 20
    """Tokens with the largest KL contribution stored per position and direction."""


METHOD = Method()
