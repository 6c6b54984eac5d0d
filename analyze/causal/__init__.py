"""What carries the difference: patches, what they close on D and C, controls, findings; asks the models by requests."""

from __future__ import annotations

from analyze.causal.arms import features_patch
from analyze.causal.changes import Change, Effects, effects_of, make_changes, prompts_to_patch, spans_in
from analyze.causal.confirm import BehaviorPart, Closed, Confirmer, LayerShare, SideTest, TestedChange, Tests
from analyze.causal.gap import Gap, measure_gap
from analyze.causal.generation import Generated, answers_under, generation_requests
from analyze.causal.plan import CausalPlan, PlannedChange, make_plan
from analyze.causal.requests import Probes, Reading, Request, as_units

__all__ = [
    "BehaviorPart",
    "CausalPlan",
    "Change",
    "Closed",
    "Confirmer",
    "Effects",
    "Gap",
    "Generated",
    "LayerShare",
    "PlannedChange",
    "Probes",
    "Reading",
    "Request",
    "SideTest",
    "TestedChange",
    "Tests",
    "answers_under",
    "as_units",
    "effects_of",
    "features_patch",
    "generation_requests",
    "make_changes",
    "make_plan",
    "measure_gap",
    "prompts_to_patch",
    "spans_in",
]
