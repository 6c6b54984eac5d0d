"""Runs the causal test: groups are patched on D, become changes and a plan, and the plan is tested on C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analyze.behaviors import Behavior, Candidate, OwnAnswers
from analyze.causal import (
    CausalPlan,
    Change,
    Confirmer,
    Gap,
    Generated,
    Probes,
    Request,
    TestedChange,
    Tests,
    answers_under,
    as_units,
    effects_of,
    features_patch,
    generation_requests,
    make_changes,
    make_plan,
    prompts_to_patch,
)
from analyze.extraction import BoolArray, Extraction
from analyze.fitting import Fitted
from analyze.groups import GapOn, Group, join_rest, make_groups
from analyze.stats import mean_interval
from fi_store.config import RunConfig
from fi_store.method import METHOD
from fi_store.store import dictionary_path
from fi_store.vocabulary import SIDES


@dataclass(frozen=True, eq=False)
class CausalTest:
    """Everything that the causal test of a run is made from, and its steps in order."""

    run_id: str
    config: RunConfig
    extraction: Extraction
    fitted: Fitted
    gap: Gap
    behaviors: Sequence[Candidate]  # of D
    answers: OwnAnswers  # of all units
    probes: Probes

    @cached_property
    def known(self) -> BoolArray:
        """(n,) units of D with a gap."""
        return self.gap.known & self.extraction.units.discovery

    @cached_property
    def gaps(self) -> list[GapOn]:
        """The gap on D, then that of every behavior that may own groups: on the prompts where one answer has it."""
        parts = [self.known]
        for candidate in self.behaviors:
            if candidate.predicate.about_length:
                continue
            base, target = (self.answers.holds(candidate.predicate, side) for side in SIDES)
            units = self.known & (base != target)
            if len(set(self.extraction.units.clusters[units].tolist())) >= METHOD.behavior_clusters:
                parts.append(units)
        gaps = [GapOn(units, float(self.gap.total[units].mean())) for units in parts if units.any()]
        return [each for each in gaps if each.gap > METHOD.gap_minimum]

    @cached_property
    def groups(self) -> list[Group]:
        """The groups of features that carry one of these gaps on D: the largest one by one, then the others joined."""
        groups = make_groups(self.run_id, self.fitted.layers, self.extraction, self.gaps)
        return join_rest(self.run_id, groups, self.config.candidates)

    def obstacle(self) -> str | None:
        """Why nothing is patched, as a sentence; None if the test can be made."""
        layers, extraction = self.fitted.layers, self.extraction
        if self.config.interventions == "off":
            return "Nothing was tested by patches, as requested (--interventions off)."
        if not layers:
            return "Without features there is nothing to patch."
        if not layers[0].dictionary.config.same_width:
            return "The models' widths differ: nothing of one can be put into the other, and no cause was tested."
        if not extraction.answers:
            return "This extraction was made by version 1 and lacks what the causal test needs; run the models again."
        clusters = extraction.units.clusters[self.known]
        on_c = extraction.units.clusters[self.gap.known & ~extraction.units.discovery]
        if min(len(set(half.tolist())) for half in (clusters, on_c)) < 2:
            return "Too few prompts have two answers that can be compared, so no cause was tested."
        low = float(mean_interval(self.gap.total[self.known], clusters).low)
        if low <= METHOD.gap_minimum:
            return (
                "Each model finds the other's answers about as likely as its own: the gap is surely above "
                f"{max(0.0, low):.2g} nats per token only, and causes are tested from {METHOD.gap_minimum:g} on."
            )
        if not self.groups:
            return "No group of features surely carries a part of the difference, so no cause was tested."
        return None

    def changes(self) -> list[Change]:
        """Patches all groups on a part of D, and joins them into changes by what that does."""
        chosen = np.isin(np.arange(self.extraction.units.n), self._part)
        patches = []
        for group in self.groups:
            folder = dictionary_path(self.run_id, group.effects.site, group.effects.layer)
            patches.append(features_patch("group", [group], self.extraction, chosen, folder, group.id))
        tried = [at for at, patch in enumerate(patches) if len(patch.rows)]
        some = as_units(self._part)
        clean = {side: Request("read", side, None, some) for side in SIDES}
        patched = {at: {side: Request("read", side, patches[at], some) for side in SIDES} for at in tried}
        requests = [*clean.values(), *(request for each in patched.values() for request in each.values())]
        self.probes.ask(requests)
        readings = self.probes.readings(requests)
        unpatched = {side: readings[request] for side, request in clean.items() if request in readings}
        effects = {
            at: effects_of(
                unpatched, {side: readings[request] for side, request in each.items() if request in readings}
            )
            for at, each in patched.items()
        }
        read = [at for at, effect in effects.items() if effect]
        groups = [self.groups[at] for at in read]
        return make_changes(
            groups, [effects[at] for at in read], self.behaviors, self.answers, self.extraction
        )

    def plan(self, changes: Sequence[Change]) -> CausalPlan:
        """What will be tested on C."""
        units = np.flatnonzero(self.gap.known & ~self.extraction.units.discovery)
        fitted = self.fitted
        return make_plan(
            *(self.run_id, changes, fitted.layers, fitted.residuals, self.extraction),
            units=units,
            also=self._part,
            threshold=self.config.feature_threshold,
            seed=self.config.seed,
        )

    def confirm(self, plan: CausalPlan) -> Tests:
        """Opens C for the plan: every arm on both sides."""
        requests = list(plan.requests.values())
        self.probes.ask(requests)
        readings = self.probes.readings(requests)
        confirmer = Confirmer(plan, readings, self.gap, self.extraction, self.answers, self.behaviors)
        return confirmer.test(self.config.alpha, self.config.feature_threshold)

    def generate(
        self, findings: Sequence[TestedChange], behaviors: Sequence[Behavior], tests: Tests
    ) -> dict[str, Generated]:
        """Leader's id -> rates in answers under the patch.

        For the first findings with a confirmed behavior; for all of them with `--interventions full`.
        """
        limit = len(findings) if self.config.interventions == "full" else METHOD.generated_findings
        asked: dict[str, tuple[dict[str, Request], Behavior]] = {}
        for tested in findings:
            number = tested.planned.change.behavior
            if number is not None and behaviors[number].confirmed(self.config.alpha) and len(asked) < limit:
                behavior = behaviors[number]
                requests = generation_requests(tested, behavior.candidate.side, tests.units)
                asked[tested.planned.change.leader.id] = requests, behavior
        self.probes.ask([request for requests, _ in asked.values() for request in requests.values()])
        rates = {
            leader: answers_under(self.probes, requests, behavior.candidate.predicate, self.extraction)
            for leader, (requests, behavior) in asked.items()
        }
        return {leader: rate for leader, rate in rates.items() if rate is not None}

    @cached_property
    def _part(self) -> np.ndarray:
        """The units of D on which groups are patched."""
        return prompts_to_patch(self.answers, self.behaviors, np.flatnonzero(self.known))
