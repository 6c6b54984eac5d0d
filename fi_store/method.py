"""The constants of the method, each with its meaning; docs/METHOD.md and bench/LOG.md say what they were set on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """Thresholds of the method, each with its meaning; formulas stand where they are used."""

    alpha: float = 0.05
    """Level of the adjusted p on the confirmation half, and of the one-sided limits of words and names."""
    floor_minimum: float = 0.01
    """Smallest absolute mean theta that may become a result, whatever the shams say."""
    floor_level: float = 0.9
    """Share of further shams whose largest |mean theta| at one layer and place the floor stays above."""
    sham_bend: float = 3.0
    """Shams vary by factors while their largest |mean theta| is well below 1 / this, by differences above it ..."""
    sham_spread: float = 0.43
    """... with this standard deviation of log(exp(bend * size) - 1) between shams (30 shams of three pairs), ..."""
    sham_spread_weight: float = 6.0
    """... which weighs as this many degrees of freedom beside a run's own shams."""
    floor_quantile: float = 0.999
    """Quantile of |mean theta| over a sham's alive features from where features are candidates ..."""
    floor_quantile_needs: int = 1_000
    """... if at least so many are alive, else the maximum."""
    alive_tokens: int = 12
    """Firing tokens on D under which a feature's scale is meaningless."""
    min_nonzero_clusters: int = 12
    """Clusters with theta != 0 under which a group is too rare to test."""
    min_category_clusters: int = 8
    """Confirmation clusters in a category under which only an interval is given."""
    sign_flips: int = 9_999
    """Random sign flips (by cluster) of the confirmation test."""
    category_permutations: int = 9_999
    """Label permutations of the category contrast."""
    explore_permutations: int = 1_000
    """Sign flips behind the exploration table's pooled-permutation FDR."""
    bootstrap_draws: int = 2_000
    """Bootstrap draws over clusters for every interval."""
    gate0_kl_upper: float = 0.02
    """Upper 95% limit of the mean symmetric KL (nats/token) up to which the behavior counts as unchanged ..."""
    gate0_agreement: float = 0.95
    """... when the most likely tokens also agree on at least this share of positions."""
    basis_apart: float = 0.5
    """Without a difference in behavior: median relative difference norm from which the bases may differ ..."""
    basis_cka: float = 0.95
    """... if the median CKA of the layers is at least this."""
    group_token_cosine: float = 0.6
    """Cosine of token-level feature differences that joins two features, within and across layers."""
    group_unit_cosine: float = 0.9
    """Cosine of two groups' scores over the prompts of D from which they are told as one change."""
    group_decoder_cosine: float = 0.7
    """Within a layer: decoder cosine that joins two features."""
    recurrence_cosine: float = 0.7
    """Cosine between a group's leading direction and another seed's group from which the group recurs."""
    pretrained_explained: float = 0.2
    """Explained variance on D of either model that a ready dictionary needs to stand in for a learned one."""
    ratio_epsilon: float = 0.01
    """Share of the median activity that is added to both sides of a ratio."""
    ratio_shared: float = 1.25
    """Ratios inside [1/x, x] with their whole 90% interval are 'shared'; beyond it 'strengthened' or 'weakened'."""
    ratio_added: float = 5.0
    """Ratio from which a feature may be 'added' or 'removed' (if the other model's residuals cannot predict it); where
    a crosscoder's latent scaling was measured, that decides instead."""
    readable_auc: float = 0.9
    """AUC from which a model's residuals tell where a feature fires: the owner's must for 'added' or 'removed', the
    other's must not."""
    redirected_share: float = 0.25
    """Paired SAE: share of a group's weight that its falling and its rising side both need to be a turn ..."""
    redirected_follows: float = 0.7
    """... the correlation from which the rising side is at the tokens of the falling one ..."""
    redirected_apart: float = 0.3
    """... if inside either model the two correlate by less than this."""
    redirected_length: float = 2.0
    """Crosscoder: what a group stands for in the models, if its lengths differ by at most this factor ..."""
    redirected_cosine: float = 0.7
    """... and the cosine is under this, has turned ..."""
    redirected_angles: float = 2.0
    """... if the angle is more than so many times the one between halves of C."""
    scaling_nu_error: float = 0.2
    """Crosscoder: |nu| of the error under which a latent counts as truly one model's ..."""
    scaling_nu_reconstruction: float = 0.5
    """... when |nu| of the reconstruction is also under this."""
    scaling_own_low: float = 0.1
    """Lower limit that the own beta must exceed before nu has a meaning."""
    scaling_tokens: int = 200
    """Firing tokens of C that latent scaling needs ..."""
    scaling_clusters: int = 12
    """... in at least this many clusters."""
    relative_norm_specific: float = 0.9
    """Relative decoder norm from which a crosscoder's latent is a candidate for the target alone (1 - x: the base)."""
    relative_norm_shared: float = 0.1
    """Distance from 1/2 up to which a relative decoder norm counts as shared."""
    name_auc_random_low: float = 0.75
    """Lower limit of the AUC against random negatives that a name needs."""
    name_auc_hard_low: float = 0.60
    """Lower limit of the mean AUC against hard negatives that a name needs."""
    name_margin: float = 0.05
    """How far a name must beat the best single token and the position class."""
    word_prompts: int = 3
    """Prompts in which a word must be pushed to be listed."""
    word_share: float = 0.02
    """Share of all that a group pushes one way in its own position class from which that class alone tells the word."""
    match_stable: float = 0.7
    """Decoder cosine (across spaces: profile correlation) from which a matched result is 'stable' in the later run."""
    match_minimum: float = 0.5
    """Mean of decoder cosine and profile correlation under which two runs' results are not the same thing."""
    match_shared_prompts: int = 8
    """Shared prompts from which profiles are compared prompt by prompt instead of category by category."""
    max_results: int = 12
    """Results that a run reports at most."""
    stored_tokens: int = 20
    """Tokens with the largest KL contribution that are stored per position and direction."""


METHOD = Method()
