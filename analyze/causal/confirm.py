"""The causal test on C: what each patch closes, of the gap and of a behavior, and which changes are findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from analyze.behaviors import Candidate, OwnAnswers
from analyze.causal.arms import Patch
from analyze.causal.changes import spans_in
from analyze.causal.gap import Gap, TokenLogprobs, token_effects
from analyze.causal.plan import CausalPlan, PlannedChange
from analyze.causal.requests import Reading, Request
from analyze.extraction import Extraction, FloatArray, IntArray
from analyze.features import other_side
from analyze.stats import cluster_means, holm, ratio_interval
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side


@dataclass(frozen=True, eq=False)
class Closed:
    """What a patch on one side closes of the gap, over the u units of C that were read."""

    patch: Patch
    side: Side
    nats: FloatArray  # (u,) A - A patched of each unit, per token
    share: float
    low: float  # 95% limits over clusters
    high: float
    attributed: float | None  # the share that attribution on C predicts

    @property
    def mean(self) -> float:
        return float(self.nats.mean())


class LayerShare(NamedTuple):
    """The share of the gap that a change closes at a layer."""

    layer: int
    share: float


@dataclass(frozen=True)
class BehaviorPart:
    """How much of a behavior (index among the candidates of D) a patch carries, with 95% limits over clusters."""

    behavior: int
    side: Side
    share: float
    low: float
    high: float
    n_units: int

    @property
    def bounded(self) -> bool:
        """Whether the data give the share limits at all (Fieller 1954)."""
        return bool(np.isfinite([self.low, self.high]).all())


@dataclass(frozen=True, eq=False)
class SideTest:
    """A change on one side, at its tested layer."""

    closed: Closed
    control: Closed | None
    ceiling: Closed | None
    above_control: float  # lower 95% limit of share - share of the control
    p_value: float
    p_adjusted: float
    behaviors: tuple[BehaviorPart, ...]

    def closes(self, threshold: float) -> bool:
        """Whether it closes enough of the gap to be a finding, whatever it does to a behavior."""
        return self.closed.share >= threshold and self.closed.mean >= METHOD.gap_minimum

    def passes(self, behavior: int | None, alpha: float, threshold: float) -> bool:
        """Whether this side makes the change a finding (METHOD section 5)."""
        mine = next((part for part in self.behaviors if part.behavior == behavior), None)
        carries = mine is not None and mine.share >= METHOD.behavior_share and mine.low > 0
        return self.p_adjusted <= alpha and self.above_control > 0 and (self.closes(threshold) or carries)


@dataclass(frozen=True, eq=False)
class TestedChange:
    """A change after its test on C."""

    number: int  # in the plan
    planned: PlannedChange
    sides: Mapping[Side, SideTest]
    finding_side: Side | None  # the side that makes it a finding; None: it is none
    adds: float | None  # share that it adds to the changes before it, on its side, patched together
    later: LayerShare | None  # the later layer at which the same side closes most, if that is more

    @property
    def best(self) -> SideTest:
        """The side that is told: that of the finding, otherwise the one that closes more."""
        return self.sides[self.finding_side or _larger(self.sides)]


@dataclass(frozen=True, eq=False)
class Tests:
    """The causal test of a run."""

    changes: tuple[TestedChange, ...]  # in the order of D
    closed: Mapping[tuple[str, Side], Closed]  # (arm's id, side)
    readings: Mapping[tuple[str | None, Side], Reading]
    units: IntArray  # of C
    together: tuple[Patch | None, ...]  # by change: the patch of all up to it, at one layer

    def cumulative(self, number: int, side: Side) -> Closed | None:
        """What the patch of all changes up to this one closes, if it was made."""
        patch = self.together[number]
        return self.closed.get((patch.id, side)) if patch is not None else None

    @property
    def findings(self) -> list[TestedChange]:
        return [tested for tested in self.changes if tested.finding_side is not None]


def _larger(tests: Mapping[Side, SideTest]) -> Side:
    """The side that closes more."""
    return max(tests, key=lambda side: tests[side].closed.share)


class Confirmer:
    """Turns the readings of C into tests."""

    def __init__(
        self,
        plan: CausalPlan,
        readings: Mapping[Request, Reading],
        gap: Gap,
        extraction: Extraction,
        answers: OwnAnswers,
        behaviors: Sequence[Candidate],
    ) -> None:
        self.plan = plan
        self.readings = {
            key: readings[request] for key, request in plan.requests.items() if request in readings
        }
        self.gap = gap
        self.extraction = extraction
        self.answers = answers  # of all units
        self.behaviors = behaviors
        self.clusters = extraction.units.clusters[plan.units]

    def test(self, alpha: float, threshold: float) -> Tests:
        """All changes on both sides, with Holm's correction over both."""
        closed = {
            (arm, side): found
            for arm, side in self.readings
            if arm is not None and (found := self._closed(arm, side)) is not None
        }
        sides = [self._sides(planned, closed) for planned in self.plan.changes]
        keys = [(number, side) for number, each in enumerate(sides) for side in each]
        adjusted = holm(np.asarray([sides[number][side].p_value for number, side in keys])) if keys else ()
        for (number, side), p in zip(keys, adjusted, strict=True):
            sides[number][side] = replace(sides[number][side], p_adjusted=float(p))
        changes = []
        for number, (planned, tests) in enumerate(zip(self.plan.changes, sides, strict=True)):
            if tests:
                passing = self._finding_side(planned, tests, alpha, threshold)
                told = passing or _larger(tests)
                adds, later = self._adds(number, told, closed), self._later(planned, told, closed)
                changes.append(TestedChange(number, planned, tests, passing, adds, later))
        return Tests(tuple(changes), closed, self.readings, self.plan.units, self.plan.cumulative)

    def effects(self, patch: Patch, side: Side) -> TokenLogprobs:
        """Nats closed at each token by a patch that was read."""
        clean, patched = self.readings[None, side], self.readings[patch.id, side]
        return token_effects(clean.logprobs, patched.logprobs, side)

    def _closed(self, arm: str, side: Side) -> Closed | None:
        request = self.plan.requests[arm, side]
        if (None, side) not in self.readings or request.patch is None:
            return None
        units = np.asarray([unit for unit in request.units if not self.extraction.units.discovery[unit]])
        nats = self.gap.closed(self.effects(request.patch, side), self.extraction.units.n)[units]
        gap = self.gap.total[units]
        if not np.isfinite(nats).all() or gap.sum() == 0:  # equal answers leave nothing to close
            return None
        interval = ratio_interval(nats, gap, self.extraction.units.clusters[units])
        predicted = self._attributed(request.patch, side)
        return Closed(
            *(request.patch, side, nats, float(interval.estimate), float(interval.low), float(interval.high)),
            predicted,
        )

    def _attributed(self, patch: Patch, side: Side) -> float | None:
        planned = next((each for each in self.plan.changes if each.tested is patch), None)
        if planned is None or planned.controls is None:
            return None
        own, _ = planned.controls.score(side, discovery=False)
        return own / float(self.gap.total[~self.extraction.units.discovery & self.gap.known].sum())

    def _sides(
        self, planned: PlannedChange, closed: Mapping[tuple[str, Side], Closed]
    ) -> dict[Side, SideTest]:
        found = {}
        for side in SIDES:
            own = closed.get((planned.tested.id, side))
            if own is None:
                continue
            control_patch = planned.control_patches.get(side)
            control = closed.get((control_patch.id, side)) if control_patch is not None else None
            whole = self.plan.ceiling(planned)
            excess = own.nats - (control.nats if control is not None else 0.0)
            interval = ratio_interval(excess, self.gap.total[self.plan.units], self.clusters)
            p = planned.controls.p_value(side) if planned.controls is not None else self._paired_p(excess)
            found[side] = SideTest(
                closed=own,
                control=control,
                ceiling=closed.get((whole.id, side)),
                above_control=float(interval.low),
                p_value=p,
                p_adjusted=1.0,
                behaviors=tuple(self._behavior_parts(planned.tested, side)),
            )
        return found

    def _paired_p(self, excess: FloatArray) -> float:
        """One-sided t over clusters, for a run without gradients, whose controls cannot be scored."""
        means = cluster_means(excess[:, None], self.clusters)[:, 0]
        if np.ptp(means) == 0:
            return 1.0  # nothing varies, as where nothing was closed
        return float(stats.ttest_1samp(means, 0.0, alternative="greater").pvalue)

    def _behavior_parts(self, patch: Patch, side: Side) -> list[BehaviorPart]:
        """The share of every behavior of D: nats closed on its spans over the gap on them, where one answer has it."""
        effects = self.effects(patch, side)
        found = []
        for number, behavior in enumerate(self.behaviors):
            author, predicate = behavior.side, behavior.predicate
            own = self.answers.holds(predicate, author)
            apart = [
                int(unit)
                for unit in self.plan.units
                if own[unit] and not self.answers.holds(predicate, other_side(author))[unit]
            ]
            closed, gaps, clusters = [], [], []
            for unit in apart:
                sums = {}
                for reader in SIDES:
                    mask = spans_in(predicate, self.answers, self.extraction, unit, author, reader)
                    sums[reader] = float(self.extraction.answers[unit, author, reader].logprobs[mask].sum())
                    if reader == side:
                        closed.append(float(effects[unit, author][mask].sum()))
                gaps.append(sums[author] - sums[other_side(author)])
                clusters.append(int(self.extraction.units.clusters[unit]))
            if len(set(clusters)) < METHOD.behavior_clusters or sum(gaps) <= 0:
                continue
            part = ratio_interval(np.asarray(closed), np.asarray(gaps), np.asarray(clusters))
            found.append(
                BehaviorPart(
                    number, side, float(part.estimate), float(part.low), float(part.high), len(apart)
                )
            )
        return found

    def _finding_side(
        self, planned: PlannedChange, sides: Mapping[Side, SideTest], alpha: float, threshold: float
    ) -> Side | None:
        """The side that makes it a finding: that of its behavior, if both do.

        A change without a behavior is one only if both sides do: what is taken away must matter, and what is given.
        """
        number = planned.change.behavior
        passing = [side for side, test in sides.items() if test.passes(number, alpha, threshold)]
        if number is None and len(passing) < len(SIDES):
            return None
        if number is not None and self.behaviors[number].side in passing:
            return self.behaviors[number].side
        return max(passing, key=lambda side: sides[side].closed.share, default=None)

    def _later(
        self, planned: PlannedChange, side: Side, closed: Mapping[tuple[str, Side], Closed]
    ) -> LayerShare | None:
        tested = closed[planned.tested.id, side]
        after = [
            LayerShare(patch.effects.layer, closed[patch.id, side].share)
            for index, patch in planned.patches.items()
            if index > planned.change.tested_index and (patch.id, side) in closed
        ]
        best = max(after, key=lambda each: each.share, default=None)
        return best if best is not None and best.share > tested.share else None

    def _adds(self, number: int, side: Side, closed: Mapping[tuple[str, Side], Closed]) -> float | None:
        """None if the change has no features at the layer where all are patched together, or was not read there."""
        patch = self.plan.cumulative[number]
        before = self.plan.cumulative[number - 1] if number else None
        if patch is None or patch is before or (patch.id, side) not in closed:
            return None
        share = self._share_on_some(patch, side)
        if before is None:
            return share
        return share - self._share_on_some(before, side) if (before.id, side) in closed else None

    def _share_on_some(self, patch: Patch, side: Side) -> float:
        """What a patch closes on the prompts on which all changes are patched together."""
        some = self.plan.some
        nats = self.gap.closed(self.effects(patch, side), self.extraction.units.n)[some]
        return float(nats.sum() / self.gap.total[some].sum())
