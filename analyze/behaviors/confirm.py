"""Tests on C what D chose: McNemar's exact test over clusters, one-sided, Holm's correction over all tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyze.behaviors.choose import Candidate
from analyze.behaviors.own_answers import OwnAnswers
from analyze.behaviors.score import discordant, one_sided_p, smallest_testable
from analyze.extraction import FloatArray
from analyze.stats import holm, share_interval
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side


@dataclass(frozen=True)
class Rate:
    """How many of a model's answers have a behavior: the mean over clusters, with 95% limits."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class CategoryRate:
    """Both rates within one category of prompts."""

    category: str
    n_clusters: int
    rates: dict[Side, Rate]


@dataclass(frozen=True)
class Behavior:
    """A candidate with its rates on the confirmation half, and the test if it was asked."""

    candidate: Candidate
    rates: dict[Side, Rate]
    n_clusters: int
    ahead: int  # clusters of C where the model that gains on D has it more
    behind: int
    tested: bool  # False: seen on D, too rare for any result on C to be significant
    p_value: float | None
    p_adjusted: float | None
    by_category: tuple[CategoryRate, ...]

    def confirmed(self, alpha: float) -> bool:
        """The difference holds on C, in D's direction."""
        return self.p_adjusted is not None and self.p_adjusted <= alpha


def confirm_behaviors(
    candidates: Sequence[Candidate], discovery: OwnAnswers, answers: OwnAnswers, alpha: float
) -> list[Behavior]:
    """Measures every candidate on C and tests those that could be confirmed, in the order of D."""
    asked = _testable(candidates, discovery.n_clusters, answers.n_clusters, alpha)
    counts = [_counts(candidate, answers) for candidate in candidates]
    p = np.asarray([one_sided_p(*counts[at]) for at in asked])
    adjusted = dict(zip(asked, zip(p, holm(p), strict=True), strict=True)) if asked else {}
    return [
        Behavior(
            candidate=candidate,
            rates=_rates(candidate, answers),
            n_clusters=answers.n_clusters,
            ahead=counts[at][0],
            behind=counts[at][1],
            tested=at in adjusted,
            p_value=float(adjusted[at][0]) if at in adjusted else None,
            p_adjusted=float(adjusted[at][1]) if at in adjusted else None,
            by_category=_by_category(candidate, answers),
        )
        for at, candidate in enumerate(candidates)
    ]


def _testable(candidates: Sequence[Candidate], n_d: int, n_c: int, alpha: float) -> list[int]:
    """The candidates that C could confirm if it shows what D shows: the rarest is dropped until all could be."""
    expected = {at: c.ahead * n_c / max(1, n_d) for at, c in enumerate(candidates)}
    kept = sorted(expected, key=lambda at: (-expected[at], at))
    while kept and expected[kept[-1]] < smallest_testable(len(kept), alpha):
        kept.pop()
    return sorted(kept)


def _counts(candidate: Candidate, answers: OwnAnswers) -> tuple[int, int]:
    up, down = discordant(*answers.shares(candidate.predicate))
    return (up, down) if candidate.side == "target" else (down, up)


def _rates(candidate: Candidate, answers: OwnAnswers) -> dict[Side, Rate]:
    shares = dict(zip(SIDES, answers.shares(candidate.predicate), strict=True))
    return {side: _rate(shares[side]) for side in SIDES}


def _rate(shares: FloatArray) -> Rate:
    """The mean over clusters (k,), each of which counts once."""
    return Rate(float(shares.mean()), *share_interval(shares, np.arange(len(shares))))


def _by_category(candidate: Candidate, answers: OwnAnswers) -> tuple[CategoryRate, ...]:
    """The rates in every category with at least `METHOD.min_category_clusters` clusters."""
    found = []
    for name in sorted(set(answers.categories.tolist())):
        part = answers.within(answers.categories == name)
        if part.n_clusters >= METHOD.min_category_clusters:
            found.append(CategoryRate(name, part.n_clusters, _rates(candidate, part)))
    return tuple(found)
