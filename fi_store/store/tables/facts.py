"""The fact tables: many rows, written with Arrow, without a key or an index (those would make loading 4-9x slower).

Writes are idempotent: one transaction deletes the rows of the run and chunk and inserts the new ones. The `primary_key`
below identifies rows for the mapper, not for the database. Rows are written sorted by (run, layer, feature).
"""

from __future__ import annotations

from sqlalchemy.orm import Mapped

from fi_store.store.tables.runs import Base


class TokenDivergence(Base):
    """How the two models' next-token distributions differ at one kept position (both read the same text).

    Divergences are in nats. Position classes: prompt, start (last template token before the answer), response.
    A control text has only prompt and start. `next_*` describe the token that actually follows in the text.
    """

    __tablename__ = "token_divergence"
    run_id: Mapped[str]
    chunk: Mapped[int]
    sequence_id: Mapped[str]
    prompt_id: Mapped[str]
    author: Mapped[str]  # who wrote the answer: base, target; control for control texts
    row: Mapped[int]  # index of the row in the run's shards, over all chunks
    position: Mapped[int]  # index of the token in its sequence (base's tokenization), template included
    position_class: Mapped[str]
    token_id: Mapped[int]
    next_token_id: Mapped[int | None]
    logprob_base: Mapped[float | None]  # log p of the next token, base
    logprob_target: Mapped[float | None]
    kl_target_base: Mapped[float]  # KL(p_target || p_base)
    kl_base_target: Mapped[float]  # KL(p_base || p_target)
    agree: Mapped[bool]  # whether both models have the same most likely next token
    promoted_ids: Mapped[list[int]]  # 20 tokens with the largest p_t (log p_t - log p_b), strongest first
    promoted_kl: Mapped[list[float]]  # their contributions, nats
    suppressed_ids: Mapped[list[int]]  # 20 tokens with the largest p_b (log p_b - log p_t)
    suppressed_kl: Mapped[list[float]]
    rest_base: Mapped[
        float | None
    ]  # the base's probability of tokens that the target lacks; null if no model has any
    rest_target: Mapped[float | None]
    __mapper_args__ = {"primary_key": ["run_id", "row"]}


class RunToken(Base):
    """The text of every token id in the run's facts."""

    __tablename__ = "run_token"
    run_id: Mapped[str]
    token_id: Mapped[int]
    text: Mapped[str]
    __mapper_args__ = {"primary_key": ["run_id", "token_id"]}


class ActivationSummary(Base):
    """Per sequence, layer, site and position class: means over tokens of norms, cosine and difference.

    `relative_difference` is mean ||t - b|| / mean ||b||. Mean vectors have the length d_model of their model, and are
    empty for control texts. Prompt and start positions are read once per prompt (with the first author's text).
    """

    __tablename__ = "activation_summary"
    run_id: Mapped[str]
    chunk: Mapped[int]
    sequence_id: Mapped[str]
    prompt_id: Mapped[str]
    author: Mapped[str]
    site: Mapped[str]
    layer: Mapped[int]
    position_class: Mapped[str]
    n_tokens: Mapped[int]
    norm_base: Mapped[float]
    norm_target: Mapped[float]
    relative_difference: Mapped[float | None]  # null if the widths differ
    cosine: Mapped[float | None]
    mean_base: Mapped[list[float]]
    mean_target: Mapped[list[float]]
    __mapper_args__ = {"primary_key": ["run_id", "sequence_id", "site", "layer", "position_class"]}


class AnswerLogprob(Base):
    """Log-probability of a whole answer under one of the models, its first token and its end mark included.

    An answer that its author did not finish has no end mark. Control texts have no answer.
    """

    __tablename__ = "answer_logprob"
    run_id: Mapped[str]
    chunk: Mapped[int]
    prompt_id: Mapped[str]
    author: Mapped[str]  # whose answer: base, target
    reader: Mapped[str]  # which model read it: base, target
    logprob: Mapped[float]  # nats
    n_tokens: Mapped[int]  # tokens of the reader that were counted, the end mark included
    token_logprobs: Mapped[list[float]]  # of these tokens, nats
    token_ends: Mapped[list[int]]  # the character of the answer before which each token ends
    __mapper_args__ = {"primary_key": ["run_id", "prompt_id", "author", "reader"]}


class AnswerGap(Base):
    """How much more likely each model finds its own answer than the other's, in nats per token (METHOD section 1).

    l_m(y) = log p_m(y) / n(y), where n is the mean of both models' token counts.
    """

    __tablename__ = "answer_gap"
    run_id: Mapped[str]
    chunk: Mapped[int]
    prompt_id: Mapped[str]
    gap_base: Mapped[float]  # A_b = (l_b(y_b) - l_b(y_t)) / 2
    gap_target: Mapped[float]  # A_t = (l_t(y_t) - l_t(y_b)) / 2
    gap: Mapped[float]  # G = A_b + A_t; 0 for equal answers
    __mapper_args__ = {"primary_key": ["run_id", "prompt_id"]}


class Attribution(Base):
    """How much of a unit's gap passes through a layer at the positions of one class (METHOD section 3), in nats.

    Prompt and start positions are read once for both answers and have no author.
    """

    __tablename__ = "attribution"
    run_id: Mapped[str]
    chunk: Mapped[int]
    prompt_id: Mapped[str]
    site: Mapped[str]
    layer: Mapped[int]
    position_class: Mapped[str]
    author: Mapped[str | None]  # whose answer: base, target; null for prompt and start
    n_tokens: Mapped[int]
    attribution: Mapped[float]
    __mapper_args__ = {"primary_key": ["run_id", "prompt_id", "site", "layer", "position_class", "author"]}


class FeatureSummary(Base):
    """Per feature, position class, category and half: theta over units, as sums so that runs can be pooled.

    theta = (a_target - a_base) / S, METHOD section 4. Category '*' means all categories together.
    """

    __tablename__ = "feature_summary"
    run_id: Mapped[str]
    feature_id: Mapped[str]
    layer: Mapped[int]
    latent: Mapped[int]
    position_class: Mapped[str]
    category: Mapped[str]
    half: Mapped[str]
    n: Mapped[int]  # units
    n_nonzero: Mapped[int]
    mean_base: Mapped[float]  # mean activation of the base over units, on the feature's own scale
    mean_target: Mapped[float]
    sum_theta: Mapped[float]
    sumsq_theta: Mapped[float]
    max_abs_theta: Mapped[float]
    __mapper_args__ = {"primary_key": ["run_id", "feature_id", "position_class", "category", "half"]}


class FeatureActivation(Base):
    """Sparse token-level activations (above zero in either model) of the features in candidate groups."""

    __tablename__ = "feature_activation"
    run_id: Mapped[str]
    feature_id: Mapped[str]
    layer: Mapped[int]
    latent: Mapped[int]
    row: Mapped[int]  # token_divergence.row of the extraction
    value_base: Mapped[float]
    value_target: Mapped[float]
    __mapper_args__ = {"primary_key": ["run_id", "feature_id", "row"]}


class Effect(Base):
    """How far a group's features moved on the confirmation half (category '*', in theta), or a category's contrast.

    The movement's p value is two-sided, over clusters. A contrast compares the nats that a change's patch closes on the
    prompts of one category with those on the rest (version 1: theta); its p value is two-sided.
    """

    __tablename__ = "effect"
    run_id: Mapped[str]
    group_id: Mapped[str]
    category: Mapped[str]
    half: Mapped[str]
    effect: Mapped[float]
    ci_low: Mapped[float]
    ci_high: Mapped[float]
    floor: Mapped[float | None]  # version 1
    statistic: Mapped[float | None]
    p_value: Mapped[float | None]  # raw
    p_adjusted: Mapped[float | None]  # over everything that was tested
    q_value: Mapped[float | None]  # version 1
    n_units: Mapped[int]
    n_nonzero: Mapped[int]
    note: Mapped[str | None]  # why there is no p value: too rare, too few clusters
    __mapper_args__ = {"primary_key": ["run_id", "group_id", "category", "half"]}
