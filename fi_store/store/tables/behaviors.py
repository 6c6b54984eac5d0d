"""The tables of behaviors: what the two models' answers do differently, with rates on both halves and the test."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from fi_store.store.tables.runs import Base


class Behavior(Base):
    """A difference between the answers that D shows, with its rates on C (METHOD section 2).

    Rates are shares of a model's own answers, averaged over clusters; `ahead` and `behind` count the clusters where the
    gaining model has the behavior more often, and less often. Intervals are 95%, over clusters.
    """

    __tablename__ = "behavior"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # in the order of D, from 1
    side: Mapped[str]  # base, target: whose answers on D have it more often
    kind: Mapped[str]  # words, sequence, form, language, empty, repetition, length, unfinished
    predicate: Mapped[dict[str, Any]]  # kind, value, least: executable on an answer
    phrase: Mapped[str]  # as the answers write it, or what a form is called
    words: Mapped[list[str]]  # its own words, then those that set these answers apart; ten at most
    concept: Mapped[str | None]  # the phrase of a concept of the bank
    title: Mapped[str]  # the difference without its rates
    sentence: Mapped[str]
    z: Mapped[float]  # log-odds ratio over its standard error, on D; positive: more in the target's answers
    p_discovery: Mapped[float]  # one-sided McNemar p on D, unadjusted
    base_discovery: Mapped[float]
    target_discovery: Mapped[float]
    ahead_discovery: Mapped[
        int
    ]  # over all clusters of D; z and p_discovery are of those that no earlier one tells apart
    behind_discovery: Mapped[int]
    base: Mapped[float]
    base_low: Mapped[float]
    base_high: Mapped[float]
    target: Mapped[float]
    target_low: Mapped[float]
    target_high: Mapped[float]
    n_clusters: Mapped[int]  # of C
    ahead: Mapped[int]
    behind: Mapped[int]
    tested: Mapped[bool]  # false: seen on D, too rare for C to confirm
    p_value: Mapped[float | None]  # McNemar's exact test on C, one-sided in D's direction
    p_adjusted: Mapped[float | None]  # Holm over the run's tested behaviors
    confirmed: Mapped[bool]  # p_adjusted is at most the run's alpha


class BehaviorRate(Base):
    """A behavior's rates on C within one category of prompts, where the category has enough clusters."""

    __tablename__ = "behavior_rate"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    category: Mapped[str] = mapped_column(primary_key=True)
    n_clusters: Mapped[int]
    base: Mapped[float]
    base_low: Mapped[float]
    base_high: Mapped[float]
    target: Mapped[float]
    target_low: Mapped[float]
    target_high: Mapped[float]
