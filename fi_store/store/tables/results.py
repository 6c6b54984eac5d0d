"""The tables of conclusions: similarity, dictionaries, probes, features, groups, names, findings, matches, reports."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from fi_store.store.tables.runs import Base


class PairGate(Base):
    """Gate 0 for the pair on the confirmation half: whether the behavior differs at all (METHOD section 1)."""

    __tablename__ = "pair_gate"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    gap: Mapped[float]  # G, nats per response token
    gap_low: Mapped[float]
    gap_high: Mapped[float]
    kl_symmetric: Mapped[float]  # mean symmetric KL, nats per response token
    kl_low: Mapped[float]
    kl_high: Mapped[float]
    agreement: Mapped[float]  # share of response positions with the same most likely next token
    n_units: Mapped[int]
    verdict: Mapped[str]  # different, no_behavioral_difference


class AnalysisPlan(Base):
    """What was fixed before the confirmation half was opened, and how often that half had been opened before."""

    __tablename__ = "analysis_plan"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    plan: Mapped[dict[str, Any]]  # changes, layers, behaviors, split counts, seeds, thresholds
    opened_before: Mapped[int]  # earlier analyses that opened C of the same extraction
    smallest_detectable: Mapped[float]  # SD of a mean over clusters, 80% power, over all that is tested
    created_at: Mapped[dt.datetime]


class LayerSimilarity(Base):
    """How similar two layers are: one metric with a 95% interval over clusters. Includes values from outside files."""

    __tablename__ = "layer_similarity"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)  # fi-store, crosscoder-file
    # cka, cosine, relative_difference, similarity, difference
    metric: Mapped[str] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)  # layer as text, or an outside file's parameter name
    position_class: Mapped[str] = mapped_column(primary_key=True)
    layer_base: Mapped[int | None]
    layer_target: Mapped[int | None]
    value: Mapped[float]
    ci_low: Mapped[float | None]
    ci_high: Mapped[float | None]
    n_units: Mapped[int | None]


class Dictionary(Base):
    """A learned set of directions for one site and layer; the weights are a folder of cfg.json + safetensors."""

    __tablename__ = "dictionary"
    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str]
    kind: Mapped[str]
    site: Mapped[str]
    layer: Mapped[int]
    d_model: Mapped[int]
    n_latents: Mapped[int]
    k: Mapped[int]
    seed: Mapped[int]
    steps: Mapped[int]
    n_rows: Mapped[int]  # training pairs
    path: Mapped[str]  # relative to the folder of the store
    scale: Mapped[float]  # s, the common input scale
    threshold: Mapped[float]
    # explained variance of either model on D and on C; null for dictionaries of the difference
    ev_base_d: Mapped[float | None]
    ev_target_d: Mapped[float | None]
    ev_base_c: Mapped[float | None]
    ev_target_c: Mapped[float | None]
    l0_base: Mapped[float]
    l0_target: Mapped[float]
    dead_share: Mapped[float]
    dark_matter: Mapped[float | None]  # share of ||t - b||^2 that is not reconstructed, C; null across widths
    mean_shift: Mapped[float | None]  # share of ||t - b||^2 that the mean shift of D reaches, C
    # share of the loss recovered with reconstructions spliced in; only in runs of version 1
    loss_recovered_base: Mapped[float | None]
    loss_recovered_target: Mapped[float | None]


class Feature(Base):
    """One latent of a dictionary."""

    __tablename__ = "feature"
    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str]
    dictionary_id: Mapped[str]
    site: Mapped[str]
    layer: Mapped[int]
    latent: Mapped[int]
    alive: Mapped[bool]  # fires on at least 12 tokens of D
    n_fire_base: Mapped[int]  # firing tokens on D
    n_fire_target: Mapped[int]
    scale: Mapped[float]  # S_j
    decoder_norm_base: Mapped[float]
    decoder_norm_target: Mapped[float]
    position_class: Mapped[str | None]  # the class in which its difference is largest on D
    change: Mapped[str]  # change class on C, in that position class
    log2_ratio: Mapped[float | None]  # lambda
    theta: Mapped[float | None]  # mean theta on D, in that position class


class LatentScaling(Base):
    """How much of a crosscoder's latent is present in each model, on C (METHOD section 6)."""

    __tablename__ = "latent_scaling"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    feature_id: Mapped[str] = mapped_column(primary_key=True)
    candidate: Mapped[str]  # base_only, target_only, shared, between: by relative decoder norm
    relative_norm: Mapped[float]  # r, 0: only the base's decoder is not zero, 1: only the target's
    owner: Mapped[str]  # base, target: whose decoder is longer
    n_tokens: Mapped[int]  # firing tokens of C
    n_clusters: Mapped[int]
    beta_err_base: Mapped[float]
    beta_err_target: Mapped[float]
    beta_rec_base: Mapped[float]
    beta_rec_target: Mapped[float]
    beta_act_base: Mapped[float]
    beta_act_target: Mapped[float]
    # other / owner; null if the latent fires too rarely or the owner's beta is small
    nu_err: Mapped[float | None]
    nu_err_low: Mapped[float | None]  # 95% limits over clusters
    nu_err_high: Mapped[float | None]
    nu_rec: Mapped[float | None]
    nu_rec_low: Mapped[float | None]
    nu_rec_high: Mapped[float | None]
    specific: Mapped[bool]  # specific to one model: |nu_err| < 0.2 and |nu_rec| < 0.5


class FeatureGroup(Base):
    """Features of one layer and position class that act together, numbered in the order of their attribution on D.

    Groups that do the same to the answers are one change, led by the strongest of them.
    """

    __tablename__ = "feature_group"
    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str]
    number: Mapped[int]  # rank on D, from 1
    position_class: Mapped[str]
    layers: Mapped[list[int]]
    n_features: Mapped[int]
    attributed: Mapped[
        float
    ]  # nats per token of the gap that attribution on D assigns to it (METHOD section 3)
    share: Mapped[float]  # share of the gap on D
    selected: Mapped[bool]  # whether it is part of a change that was tested on C
    # the group that leads the change that this one is part of; null if it leads one, or is part of none
    leader_id: Mapped[str | None]
    # share of the other dictionary seeds in which it recurs; null with one seed
    recurrence: Mapped[float | None]


class FeatureGroupMember(Base):
    """A feature's part in a group: its weight (share of the attributed effect) and its side."""

    __tablename__ = "feature_group_member"
    group_id: Mapped[str] = mapped_column(primary_key=True)
    feature_id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str]
    # signed: negative on the 'loses' side of a group that mainly gains, and vice versa
    weight: Mapped[float]
    side: Mapped[str]  # gains, loses


class FeatureName(Base):
    """A candidate name for a group, with its predicate, evidence and scores; of either sort at most one is chosen:
    where it acts (lexical, contextual), what the answers do (proposed)."""

    __tablename__ = "feature_name"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    group_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    phrase: Mapped[str]
    predicate: Mapped[dict[str, Any]]
    method: Mapped[str]  # lexical, contextual; proposed: by a language model
    auc_d: Mapped[float]  # lower limit on the inner half of D, used to select it; proposed: on all of D
    auc_random: Mapped[float | None]  # C, stratum R
    auc_random_low: Mapped[float | None]
    auc_hard: Mapped[float | None]  # C, mean of the hard strata
    auc_hard_low: Mapped[float | None]
    # every stratum with n and limits, and the two baselines; proposed: model, z and rates on D, rates and p on C
    scores: Mapped[dict[str, Any] | None]
    chosen: Mapped[bool]
    named: Mapped[bool]  # chosen and passed every threshold


class Finding(Base):
    """A change that was confirmed on C, under the group that leads it (METHOD section 5).

    Runs of version 1 hold observations and internal shifts, which were not tested causally; columns that only those
    have, or only findings, are null in the others.
    """

    __tablename__ = "finding"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    group_id: Mapped[str] = mapped_column(primary_key=True)
    rank: Mapped[int]
    tier: Mapped[str]  # finding; version 1: observation, internal_shift
    causal_status: Mapped[str]  # 'tested by patches'; version 1: 'not tested causally'
    change: Mapped[str]
    named: Mapped[bool]
    name: Mapped[str]
    description: Mapped[str]
    sentence: Mapped[str]  # the whole claim with its figures, for people
    position_class: Mapped[str]
    layers: Mapped[list[int]]
    categories: Mapped[list[str]]  # strongest first
    category_p: Mapped[float | None]  # adjusted p of the strongest category's contrast
    promoted_tokens: Mapped[list[str]]
    suppressed_tokens: Mapped[list[str]]
    trigger_tokens: Mapped[list[str]]
    effect: Mapped[float]  # nats per token that the patch closes; version 1: mean theta
    ci_low: Mapped[float]
    ci_high: Mapped[float]
    floor: Mapped[float | None]  # version 1
    p_value: Mapped[float]  # adjusted (Holm; version 1: maxT)
    q_value: Mapped[float | None]  # version 1
    n_units: Mapped[int]
    log2_ratio: Mapped[float | None]
    log2_low: Mapped[float | None]
    log2_high: Mapped[float | None]
    rate_base: Mapped[float | None]  # share of the model's own answers (C) that have the behavior
    rate_target: Mapped[float | None]
    rate_p: Mapped[float | None]  # McNemar, exact
    share_closed: Mapped[float | None]  # share of the gap that the patch closes, at `layer` and `side`
    share_low: Mapped[float | None]  # 95% limits over clusters
    share_high: Mapped[float | None]
    words: Mapped[list[str] | None]  # of the behavior, then what the patch pushes; ten at most
    phrase: Mapped[str | None]  # of the behavior
    behavior: Mapped[int | None]  # behavior.number; null: the change goes with no behavior
    rate_patched: Mapped[float | None]  # on the prompts of `rate_clean`, with the patch on
    rate_control: Mapped[float | None]  # the same with the control
    rate_clean: Mapped[float | None]  # the same without a patch; null if no answers were generated
    n_generated: Mapped[int | None]  # their number of prompts
    share_control: Mapped[float | None]  # share that the control's patch closes
    share_behavior: Mapped[float | None]  # share of the behavior that the patch closes (`behavior_share`)
    ceiling: Mapped[
        float | None
    ]  # share that the whole difference closes at the same layer, side and positions
    side: Mapped[str | None]  # base, target: the model in which the patch was tested
    layer: Mapped[int | None]  # the layer that was tested
    change_inside: Mapped[str | None]  # change class of its features by their activity
    features: Mapped[list[str] | None]  # feature ids at `layer`, strongest first


class FindingExample(Base):
    """A window of text (C) in which a group fires, shown as evidence in reports."""

    __tablename__ = "finding_example"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    group_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    prompt_id: Mapped[str]
    author: Mapped[str]
    category: Mapped[str]
    before: Mapped[str]
    token: Mapped[str]
    after: Mapped[str]
    value_base: Mapped[float]
    value_target: Mapped[float]


class FeatureMatch(Base):
    """A group of one run and its best match in another run (an assignment by direction and profile)."""

    __tablename__ = "feature_match"
    run_a: Mapped[str] = mapped_column(primary_key=True)
    run_b: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    group_a: Mapped[str | None]
    group_b: Mapped[str | None]
    status: Mapped[str]  # stable, drifted, new, gone
    direction_cosine: Mapped[float | None]
    profile_correlation: Mapped[float | None]


class Report(Base):
    """A rendered file of a run."""

    __tablename__ = "report"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)  # relative to the folder of the store
    kind: Mapped[str]  # markdown, html, chart, features
    n_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    created_at: Mapped[dt.datetime]
