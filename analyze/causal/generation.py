"""Answers under a patch: how often a model still has a behavior when what carries it is switched off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyze.behaviors import AnswerPredicate, OwnAnswer, OwnAnswers
from analyze.causal.confirm import TestedChange
from analyze.causal.requests import Probes, Request, as_units
from analyze.extraction import Extraction, IntArray
from fi_store.method import METHOD
from fi_store.vocabulary import Side


@dataclass(frozen=True)
class Generated:
    """Rates of a behavior in a model's answers to n prompts of C: without a patch, with it, with the control.

    `layer` and `n_features`: where it was patched, and how many features.
    """

    layer: int
    n_features: int
    n: int
    clean: float
    patched: float
    control: float | None


def generation_requests(tested: TestedChange, side: Side, units: IntArray) -> dict[str, Request]:
    """What to ask for a finding: the patch, the control and neither, on some of the units of C, evenly spread."""
    some = np.unique(np.linspace(0, len(units) - 1, min(METHOD.generated_prompts, len(units))).astype(int))
    chosen = as_units(units[some])
    requests = {
        "clean": Request("generate", side, None, chosen),
        "patched": Request("generate", side, tested.planned.answered, chosen),
    }
    if side in tested.planned.answered_controls:
        requests["control"] = Request("generate", side, tested.planned.answered_controls[side], chosen)
    return requests


def answers_under(
    probes: Probes, requests: dict[str, Request], predicate: AnswerPredicate, extraction: Extraction
) -> Generated | None:
    """The rates of a behavior in the answers; None if those with the patch or without could not be generated."""
    rates: dict[str, float] = {}
    for name, request in requests.items():
        answers = probes.answers(request)
        own = [
            OwnAnswer(text, extraction.units.questions[unit], finished, start)
            for unit, (text, finished, start) in answers.items()
        ]
        if own:
            each_apart = np.arange(len(own)), np.asarray([""] * len(own))
            both = OwnAnswers({"base": own, "target": own}, *each_apart)
            rates[name] = float(both.holds(predicate, "base").mean())
    if "clean" not in rates or "patched" not in rates:
        return None
    patch = requests["patched"].patch
    assert patch is not None
    assert patch.directions is not None
    counts = patch.effects.layer, len(patch.directions), len(requests["clean"].units)
    return Generated(*counts, rates["clean"], rates["patched"], rates.get("control"))
