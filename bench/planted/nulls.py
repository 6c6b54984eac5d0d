"""Pairs with nothing to find, labels without meaning, and random directions: how often is something found all the same?

The base against itself; certified self-distilled adapters; two edits that keep the function (permuted MLP neurons, a
turned residual basis). Each pair is read once. Its runs are halves of its prompts, drawn anew each time and each with a
split of its own, so they share prompts but no two hold the same ones. Gate 0 does not close them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from analyze.behaviors import OwnAnswers, answers_of, choose_behaviors, confirm_behaviors
from analyze.causal import measure_gap
from analyze.extraction import BoolArray, Extraction, load_extraction
from analyze.stats import mean_interval
from bench.planted.causes import control_findings
from bench.planted.judge import read_cards
from bench.planted.organisms import compare
from bench.planted.preserving import permute_neurons, turn_basis
from bench.planted.runs import BUNDLED, Runs, load_settings
from bench.results import Figure, PartResult
from extract.models import describe_reference
from fi_store.method import METHOD
from fi_store.prompts import load_concepts

BEHAVIOR_GOAL = 1
"""Most of the runs without a difference that may have a confirmed behavior."""
COIN_GOAL = 15
"""Most of the deals by a coin that may have a confirmed behavior."""
CONTROL_GOAL = 0.05
"""Largest share of the control draws that may be findings."""


def run(quick: bool, work: Path, organisms: Sequence[Path]) -> PartResult:
    """Pairs without a difference, then labels and directions without meaning in the first pair with one."""
    settings = load_settings("nulls", quick=quick)
    runs = Runs(work)
    pairs = {"the base against itself": (BUNDLED, BUNDLED)}
    for card in read_cards(organisms, "null"):
        pairs[f"null adapter {card.name}"] = card.base, str(card.target)
    source = Path(describe_reference(BUNDLED, runs.cache_dir)["folder"])
    for name, edit in (("permuted neurons", permute_neurons), ("turned basis", turn_basis)):
        pairs[name] = BUNDLED, str(edit(source, work / "models" / name.replace(" ", "-"), seed=0))
    found = {}
    for name, (base, target) in pairs.items():
        made = runs.compare(base, target, settings["options"])
        halves = runs.once(
            f"{settings['halves']} halves of {made.run_id}",
            partial(judge_halves, runs, made.run_id, settings["halves"]),
        )
        found[name] = {**halves, "findings": made.findings, "gate": made.gate}
    raw: dict[str, Any] = {"pairs": found}
    for card in read_cards(organisms, "behavior")[:1]:
        made = compare(runs, card, "forward", load_settings("organisms", quick=quick))
        raw |= runs.once(
            f"{settings['coins']} coins and control draws of {made.run_id}",
            partial(deal_and_draw, runs, made.run_id, settings["coins"]),
        )
    return PartResult(figures(raw, judgeable=not quick), raw)


def judge_halves(runs: Runs, run_id: str, count: int) -> dict[str, Any]:
    """Runs of different halves of a reading's prompts: confirmed behaviors, and whether a cause would be tested."""
    extraction = _load(runs, run_id)
    answers, gap, clusters = answers_of(extraction.units), measure_gap(extraction), extraction.units.clusters
    found: list[dict[str, Any]] = []
    for seed in range(count):
        discovery, confirmation = draw_half(extraction, seed)
        known = gap.known & discovery
        low = float(mean_interval(gap.total[known], clusters[known]).low)
        found.append(
            {
                "behaviors": confirmed(answers.within(discovery), answers.within(confirmation)),
                "prompts": [int(discovery.sum()), int(confirmation.sum())],
                "gap_low": low,
                "tested": low > METHOD.gap_minimum,
            }
        )
    return {"halves": found}


def draw_half(extraction: Extraction, seed: int) -> tuple[BoolArray, BoolArray]:
    """D and C (n,) of a random half of the clusters, half of it each, from all categories."""
    units = extraction.units
    clusters, first = np.unique(units.clusters, return_index=True)
    order = np.random.default_rng(seed).permutation(len(clusters))
    order = order[np.argsort(units.categories[first][order], kind="stable")]
    discovery, confirmation = (np.isin(units.clusters, clusters[order[start::4]]) for start in (0, 2))
    return np.asarray(discovery), np.asarray(confirmation)


def confirmed(discovery: OwnAnswers, confirmation: OwnAnswers) -> list[str]:
    """The phrases of the behaviors that D shows and C confirms."""
    candidates = choose_behaviors(discovery, load_concepts(), METHOD.alpha)
    tested = confirm_behaviors(candidates, discovery, confirmation, METHOD.alpha)
    return [each.candidate.phrase for each in tested if each.confirmed(METHOD.alpha)]


def deal_and_draw(runs: Runs, run_id: str, coins: int) -> dict[str, Any]:
    """Confirmed behaviors of every deal of base and target by a coin, and control draws tested as changes."""
    extraction = _load(runs, run_id)
    answers, discovery = answers_of(extraction.units), extraction.units.discovery
    dealt = []
    for seed in range(coins):
        labels = deal(answers, np.random.default_rng(seed).random(extraction.units.n) < 0.5)
        dealt.append(confirmed(labels.within(discovery), labels.within(~discovery)))
    with runs.open() as store:
        return {"coins": dealt, "controls": control_findings(store, run_id)}


def deal(answers: OwnAnswers, swapped: BoolArray) -> OwnAnswers:
    """The answers with base and target exchanged in some prompts (n,)."""
    pairs = [
        (target, base) if swap else (base, target)
        for base, target, swap in zip(
            answers.answers["base"], answers.answers["target"], swapped, strict=True
        )
    ]
    base, target = ([pair[side] for pair in pairs] for side in (0, 1))
    return OwnAnswers({"base": base, "target": target}, answers.clusters, answers.categories)


def _load(runs: Runs, run_id: str) -> Extraction:
    with runs.open() as store:
        return load_extraction(store, store.run(run_id))


def figures(raw: dict[str, Any], *, judgeable: bool) -> list[Figure]:
    """The table of this part; the quick form judges nothing."""

    def ok(holds: bool) -> bool | None:
        return holds if judgeable else None

    out = []
    for name, pair in raw["pairs"].items():
        n = len(pair["findings"])
        detail = f"KL {pair['gate']['kl_symmetric']:.2g} nats per token"
        out.append(Figure(f"findings, all prompts: {name}", n, "", "0", ok(n == 0), detail))
    halves = [half for pair in raw["pairs"].values() for half in pair["halves"]]
    behaviors = sum(bool(half["behaviors"]) for half in halves)
    tested = sum(half["tested"] for half in halves)
    of = f"of {len(halves)}"
    seen = "; ".join(phrase for half in halves for phrase in half["behaviors"])
    goal = f"at most {BEHAVIOR_GOAL}"
    out += [
        Figure("runs with a confirmed behavior", behaviors, of, goal, ok(behaviors <= BEHAVIOR_GOAL), seen),
        Figure(
            "runs with a gap whose causes would be tested, the most that could have a finding",
            *(tested, of, "0", ok(tested == 0)),
        ),
    ]
    if "coins" in raw:
        hit = sum(bool(phrases) for phrases in raw["coins"])
        goal = f"at most {COIN_GOAL}"
        of = f"of {len(raw['coins'])}"
        out.append(Figure("deals by a coin with a confirmed behavior", hit, of, goal, ok(hit <= COIN_GOAL)))
        draws = sum(each["draws"] for each in raw["controls"])
        count = sum(each["findings"] for each in raw["controls"])
        share = count / draws if draws else 0.0
        goal = f"at most {CONTROL_GOAL}"
        detail = f"{count} of {draws}, {len(raw['controls'])} changes and sides"
        out.append(
            Figure("control draws that are findings", share, "", goal, ok(share <= CONTROL_GOAL), detail)
        )
    return out
