"""Makes results out of confirmed groups: change class, categories, tokens, name, behavior, examples, rank.

A result that passed gates 0-2 is an observation until the causal gate exists. If gate 0 found no difference in
behavior, it is an internal shift and never a finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyze.extraction import PROMPT, BoolArray, Extraction, FloatArray, IntArray
from analyze.features import LayerEffects, categories_of
from analyze.groups import (
    Change,
    Group,
    Residuals,
    Scope,
    classify,
    group_floor,
    group_scores,
    token_activity,
)
from analyze.names import (
    CONCEPT_WORDS,
    LISTED,
    Bank,
    Contexts,
    MatchedConcept,
    NameCandidate,
    WordRates,
    Words,
    change_at_tokens,
    check_behavior,
    name_group,
    pushed_words,
)
from analyze.stats import (
    Confirmation,
    Interval,
    category_contrasts,
    cluster_means,
    confirm,
    mean_interval,
    strata_of,
    within_strata,
)
from fi_store.method import METHOD

TRIGGERS = 10
EXAMPLES = 5
WINDOW = 12
"""Tokens of context on either side of an example."""


@dataclass(frozen=True)
class CategoryContrast:
    """One category against the rest, on C."""

    category: str
    contrast: float
    low: float
    high: float
    statistic: float | None
    p_adjusted: float | None
    """Adjusted for the categories and for the selection of results; None with too few clusters."""
    n_units: int


@dataclass(frozen=True)
class Example:
    """A window of text around a firing token."""

    unit: int
    author: str
    before: str
    token: str
    after: str
    value_base: float
    value_target: float


@dataclass(frozen=True)
class Tested:
    """A candidate group after its one test on C: its mean score over the prompts of `scope`."""

    group: Group
    scope: Scope
    effect: float
    low: float
    high: float
    floor: float
    statistic: float
    p_value: float
    p_adjusted: float
    q_value: float
    n_units: int
    share: float  # of C's clusters that are in the scope
    n_nonzero: int
    note: str | None

    def confirmed(self, alpha: float) -> bool:
        """Gate 2."""
        return self.p_adjusted <= alpha


@dataclass(frozen=True)
class Result:
    """A confirmed group with everything that is reported about it."""

    tested: Tested
    change: Change
    categories: list[CategoryContrast]  # strongest contrast first
    promoted: list[tuple[str, float]]
    suppressed: list[tuple[str, float]]
    name_words: list[str]  # pushed by the group and its companions in its direction, chosen on D
    triggers: list[str]
    concept: MatchedConcept | None  # the one that those words point to
    names: list[NameCandidate]  # the chosen one first
    behavior: WordRates | None
    examples: list[Example]

    @property
    def strength(self) -> float:
        """Lower limit of |mean theta| minus the floor, times the attributed effect: the order until gate 3 exists.

        The attributed effect is a mean over all prompts, so a change of some prompts counts by their share.
        """
        nearest = min(abs(self.tested.low), abs(self.tested.high))
        return max(nearest - self.tested.floor, 0.0) * self.tested.share * self.tested.group.attributed


def confirm_groups(
    groups: Sequence[Group],
    scopes: Sequence[Scope],
    layers: Sequence[LayerEffects],
    extraction: Extraction,
    seed: int,
) -> list[Tested]:
    """Opens C once: every candidate's weighted theta against its floor, maxT over all of them (gate 2).

    The test and the interval are stratified by category (`strata_of`); D chose the categories (`scopes`).
    """
    if not groups:
        return []
    chosen = ~extraction.units.discovery
    clusters = extraction.units.clusters[chosen]
    scores = np.column_stack([group_scores(group, layers) for group in groups])
    by_cluster = cluster_means(scores[chosen], clusters)
    signs = np.asarray([float(group.direction) for group in groups])
    floors = np.asarray([group_floor(group, layers) for group in groups])
    scoped = np.asarray([group_floor(group, layers, scoped=True) for group in groups])
    floors = np.where([bool(scope) for scope in scopes], scoped, floors)
    labels = categories_of(extraction, chosen)
    inside = np.column_stack([np.isin(labels, scope) | (not scope) for scope in scopes])
    nonzero = ((by_cluster != 0) & inside).sum(axis=0)
    eligible = nonzero >= METHOD.min_nonzero_clusters
    strata = strata_of(labels)
    result: Confirmation = confirm(by_cluster, signs, floors, eligible, seed, strata, inside)
    intervals = [_interval(by_cluster[kept, i], strata[kept], seed) for i, kept in enumerate(inside.T)]
    return [
        Tested(
            group=group,
            scope=scopes[i],
            effect=float(intervals[i].estimate),
            low=float(intervals[i].low),
            high=float(intervals[i].high),
            floor=float(floors[i]),
            statistic=float(result.statistic[i]),
            p_value=float(result.p_value[i]),
            p_adjusted=float(result.p_adjusted[i]),
            q_value=float(result.q_value[i]),
            n_units=int(inside[:, i].sum()),
            share=float(inside[:, i].mean()),
            n_nonzero=int(nonzero[i]),
            note=None if eligible[i] else f"too rare to test, n = {int(nonzero[i])}",
        )
        for i, group in enumerate(groups)
    ]


def _interval(scores: FloatArray, strata: IntArray, seed: int) -> Interval:
    """95% interval of a stratified mean of scores (n,)."""
    around = within_strata(scores[:, None], strata)[:, 0]
    return mean_interval(around, np.arange(len(around)), 0.95, METHOD.bootstrap_draws, seed)


def describe(
    tested: Tested,
    layers: Sequence[LayerEffects],
    extraction: Extraction,
    residuals: Residuals,
    contexts: Contexts,
    words: Words,
    bank: Bank,
    *,
    seed: int,
    naming: bool,
    confirmed_share: float,
) -> Result:
    """Everything that is reported about a confirmed group: tests use C, choices use D, listed words use both.

    `confirmed_share`: R/K, the confirmed share of the tested groups.
    """
    group, rows = tested.group, extraction.rows
    weights = change_at_tokens(group, layers)
    in_class = rows.own & (rows.position_class == group.position_class)
    on_d = pushed_words(group, layers, extraction, words, rows.discovery, CONCEPT_WORDS)
    pushed = on_d[0 if group.direction > 0 else 1]
    name_words = [word for word, _ in pushed[:LISTED]]
    # An estimate that also uses the prompts that chose the group: no claim rests on it, and the name's words are D's.
    promoted, suppressed = pushed_words(group, layers, extraction, words, np.ones_like(rows.discovery))
    in_answers = group.position_class != PROMPT
    answers = extraction.units.answers
    return Result(
        tested=tested,
        change=classify(group, layers, extraction, residuals),
        categories=category_table(group, layers, extraction, seed, confirmed_share),
        promoted=promoted,
        suppressed=suppressed,
        name_words=name_words,
        triggers=_triggers(weights, in_class & rows.discovery, contexts),
        concept=bank.match(pushed, extraction, answers, group.direction) if naming and in_answers else None,
        names=name_group(group, layers, extraction, contexts, seed, bank.predicates) if naming else [],
        behavior=check_behavior(extraction, answers, name_words, group.position_class, group.direction)
        if in_answers
        else None,
        examples=_examples(group, layers, extraction, weights, in_class & ~rows.discovery),
    )


def category_table(
    group: Group,
    layers: Sequence[LayerEffects],
    extraction: Extraction,
    seed: int,
    confirmed_share: float,
) -> list[CategoryContrast]:
    """Contrasts of the group's score in its own direction, category by category, on C; strongest first.

    Only R of K groups get contrasts, so the level is alpha R/K (Benjamini and Bogomolov 2014, "Selective inference on
    multiple families of hypotheses"). Instead of the level, the p values are divided by `confirmed_share` = R/K.
    """
    chosen = ~extraction.units.discovery
    clusters = extraction.units.clusters[chosen]
    score = group_scores(group, layers)[chosen] * group.direction
    means = cluster_means(score[:, None], clusters)[:, 0]
    categories = categories_of(extraction, chosen)
    if len(np.unique(categories)) < 2:
        return []
    names, contrast, statistic, p = category_contrasts(means, categories, seed)
    out = []
    for i, name in enumerate(names):
        inside = categories == name
        # The contrast as a mean: units inside count n/n_in, units outside -n/n_out.
        signed = (
            np.where(inside, len(means) / max(inside.sum(), 1), -len(means) / max((~inside).sum(), 1)) * means
        )
        interval = mean_interval(signed, np.arange(len(means)), 0.95, METHOD.bootstrap_draws, seed)
        tested = not np.isnan(p[i])
        out.append(
            CategoryContrast(
                name,
                float(contrast[i]),
                float(interval.low),
                float(interval.high),
                float(statistic[i]) if tested else None,
                min(1.0, float(p[i]) / confirmed_share) if tested else None,
                int(inside.sum()),
            )
        )
    return sorted(out, key=lambda item: -item.contrast)


def _triggers(weights: FloatArray, chosen: BoolArray, contexts: Contexts) -> list[str]:
    """Words at which the group's change happens more than their share of the positions explains, strongest first."""
    active = chosen & (weights > 0)
    if not active.any():
        return []
    words, index = np.unique(contexts.words[chosen], return_inverse=True)
    change = np.bincount(index, weights=np.maximum(weights[chosen], 0), minlength=len(words))
    frequency = np.bincount(index, minlength=len(words))
    excess = change / change.sum() - frequency / frequency.sum()
    order = np.argsort(-excess, kind="stable")
    return [str(words[i]) for i in order[:TRIGGERS] if excess[i] > 0 and words[i]]


def _examples(
    group: Group,
    layers: Sequence[LayerEffects],
    extraction: Extraction,
    weights: FloatArray,
    chosen: BoolArray,
) -> list[Example]:
    """The strongest firing position of each of a few prompts, spread from the strongest to the median."""
    rows = extraction.rows
    fired = np.flatnonzero(chosen & (weights > 0))
    best: dict[int, int] = {}
    for row in fired[np.argsort(-weights[fired], kind="stable")]:
        best.setdefault(int(rows.unit[row]), int(row))
    picked = list(best.values())
    if len(picked) > EXAMPLES:
        picked = [picked[i] for i in np.unique(np.linspace(0, len(picked) // 2, EXAMPLES).astype(int))]
    activity = {
        reader: token_activity(group, layers, reader, group.direction) for reader in ("base", "target")
    }
    return [_window(extraction, row, activity) for row in picked]


def _window(extraction: Extraction, row: int, activity: dict[str, FloatArray]) -> Example:
    rows = extraction.rows
    inside = np.flatnonzero(rows.sequence == rows.sequence[row])
    inside = inside[np.argsort(rows.position[inside], kind="stable")]
    at = int(np.flatnonzero(inside == row)[0])

    def text(part: np.ndarray) -> str:
        return "".join(extraction.token_text.get(int(token), "") for token in rows.token[part])

    author = "base" if rows.author[row] == 0 else "target"
    return Example(
        unit=int(rows.unit[row]),
        author=author,
        before=text(inside[max(0, at - WINDOW) : at]),
        token=text(inside[at : at + 1]),
        after=text(inside[at + 1 : at + 1 + WINDOW]),
        value_base=float(activity["base"][row]),
        value_target=float(activity["target"][row]),
    )


def ordered(results: Sequence[Result], recurrences: Mapping[int, float]) -> list[Result]:
    """Results in the order of their tier (METHOD section 4): strength, lower limit of |log2 ratio|, recurrence.

    `recurrences`: share of the other seeds by `id(group)`; empty with one seed.
    """

    def key(result: Result) -> tuple[bool, float, float, float]:
        nearest = min(abs(result.change.low), abs(result.change.high))
        # A shift that leaves a feature as active as before is real but small, so it comes after the changes.
        small = result.change.name == "shared"
        known = -nearest if result.change.low * result.change.high > 0 else 0.0
        return small, -result.strength, known, -recurrences.get(id(result.tested.group), 0.0)

    return sorted(results, key=key)
