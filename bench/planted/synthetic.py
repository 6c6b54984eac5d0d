"""Counts how many one-model directions of a known world each kind of dictionary finds, and how many calls are wrong.

A direction is found if one latent's decoder has cosine >= 0.9 with it (one to one: an assignment problem). The
pipeline's own code decides what is base- or target-specific: effects on D, the change class on C.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from analyze.extraction import BASE, RESPONSE, TARGET, Extraction, Rows, Units
from analyze.features import LayerEffects, measure_effects, with_scaling
from analyze.fit import FitOptions, fit_dictionary
from analyze.groups import ChangeInside, Group, Member, Residuals, classify
from analyze.groups.classes import ratio_epsilon, unit_activity
from bench.planted.runs import Runs
from bench.planted.world import World, make_world
from bench.results import Figure, PartResult
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side

Kind = Literal["paired_sae", "crosscoder"]
KINDS: tuple[Kind, ...] = ("paired_sae", "crosscoder")
MATCH = 0.9
CALLED = {"removed": "base", "added": "target"}
"""Change class -> the model that a latent of that class is specific to."""
TOKENS = 100
"""Rows of a unit, half of them in each model's text."""
RECALL = 0.95
MAX_FALSE = 0.10


@dataclass(frozen=True)
class Size:
    """How much is run."""

    seeds: int = 2
    shares: tuple[float, ...] = (0.05,)
    d: int = 128
    directions: int = 512
    latents: int = 1024
    k: int = 4  # 3.3 directions fire per row
    steps: Mapping[Kind, int] = field(default_factory=lambda: {"paired_sae": 1500, "crosscoder": 6000})
    batch: int = 1024
    units: tuple[int, int] = (1000, 1000)  # on D and on C


QUICK = Size(
    seeds=1,
    shares=(0.10,),
    d=32,
    directions=64,
    latents=128,
    steps=dict.fromkeys(KINDS, 150),
    batch=256,
    units=(60, 40),
)


def run(quick: bool, work: Path) -> PartResult:
    """All kinds, shares and seeds, one after the other."""
    size = QUICK if quick else Size()
    runs = Runs(work)
    figures: list[Figure] = []
    raw: dict[str, Any] = {}
    for specific in size.shares:
        for kind in KINDS:
            trials = [
                runs.once(trial_key(kind, specific, seed, size), partial(trial, kind, specific, seed, size))
                for seed in range(size.seeds)
            ]
            name = f"{kind}, {specific:.0%} specific"
            raw[name] = trials
            figures += summarize(name, trials, judged=not quick)
    return PartResult(figures, raw)


def trial_key(kind: Kind, specific: float, seed: int, size: Size) -> str:
    """The ledger's key of a trial: all of its inputs."""
    inputs = [
        kind,
        specific,
        seed,
        size.d,
        size.directions,
        size.latents,
        size.k,
        size.steps[kind],
        size.batch,
    ]
    return f"synthetic {json.dumps([*inputs, *size.units])}"


def trial(kind: Kind, specific: float, seed: int, size: Size) -> dict[str, Any]:
    """Learns one dictionary and counts its calls."""
    world = make_world(seed, specific, d=size.d, n=size.directions)
    extraction = make_extraction(size)
    exact = world.rows(extraction.rows.n, torch.Generator().manual_seed(1000 + seed))
    pair = exact[0].to(torch.bfloat16), exact[1].to(torch.bfloat16)  # as models leave them
    on_d = torch.from_numpy(extraction.rows.discovery)
    options = FitOptions("none", 0, size.latents, size.k, size.steps[kind], size.batch, seed)
    classes = torch.full((int(on_d.sum()),), RESPONSE)
    dictionary = fit_dictionary(kind, (pair[0][on_d], pair[1][on_d]), classes, options)
    activations: dict[Side, torch.Tensor] = {"base": pair[0], "target": pair[1]}
    effects = measure_effects(extraction, dictionary, activations, "base")
    return count(world, with_scaling(effects, extraction, pair, seed), extraction, activations)


def make_extraction(size: Size) -> Extraction:
    """Units of TOKENS answer rows; each unit is its own cluster."""
    n_units = sum(size.units)
    unit = np.repeat(np.arange(n_units), TOKENS)
    position = np.tile(np.arange(TOKENS), n_units)
    discovery = np.arange(n_units) < size.units[0]
    none = np.full(len(unit), -1)
    rows = Rows(
        unit=unit,
        author=np.where(position < TOKENS // 2, BASE, TARGET),
        position_class=np.full(len(unit), RESPONSE),
        position=position,
        sequence=unit,
        token=none,
        next_token=none,
        discovery=discovery[unit],
    )
    empty = [""] * n_units
    units = Units(
        prompt_ids=[str(index) for index in range(n_units)],
        clusters=np.arange(n_units),
        categories=np.full(n_units, "one"),
        discovery=discovery,
        questions=empty,
        controls=empty,
        answers={"base": empty, "target": empty},
        answer_starts=dict.fromkeys(("base", "target"), np.zeros(n_units, dtype=np.int64)),
        finished=dict.fromkeys(("base", "target"), np.ones(n_units, dtype=bool)),
    )
    return Extraction(units, rows, {}, {})


def count(
    world: World, effects: LayerEffects, extraction: Extraction, activations: dict[Side, torch.Tensor]
) -> dict[str, Any]:
    """Matches directions with latents, classifies the latents, and lists both."""
    directions = torch.nn.functional.normalize(world.directions, dim=1)
    cosine = (directions @ effects.dictionary.w_dec.T).numpy()
    _, latent = linear_sum_assignment(-cosine)  # (n,) one latent per direction
    matched = cosine[np.arange(len(latent)), latent]
    direction_of = {int(j): i for i, j in enumerate(latent) if matched[i] >= MATCH}

    def is_true(side: str, j: int) -> bool:
        return j in direction_of and world.owner[direction_of[j]] == side

    residuals = Residuals({(reader, 0): rows for reader, rows in activations.items()}, extraction)
    changes = {
        j: classify(alone(effects, j, sign), extraction, residuals)
        for j, sign in candidates(effects, extraction)
    }
    quality = effects.quality
    return {
        "recovered": float((matched >= MATCH).mean()),
        "explained": quality.explained["base", "C"],
        "l0": quality.l0["base"],
        "dead": quality.dead_share,
        "planted": [
            planted(world, i, float(matched[i]), changes.get(int(latent[i])))
            for i in range(len(latent))
            if world.owner[i] != "both"
        ],
        "calls": [
            {"latent": j, "side": side, "cosine": float(cosine[:, j].max()), "true": is_true(side, j)}
            for j, change in changes.items()
            if (side := CALLED.get(change.name)) is not None
        ],
    }


def planted(world: World, index: int, cosine: float, change: ChangeInside | None) -> dict[str, Any]:
    """How one direction that only one model has was found and called."""
    owner = world.owner[index]
    return {
        "side": owner,
        "rate": float(world.rates[index]),
        "norm": float(world.directions[index].norm()),
        "cosine": cosine,
        "class": change and change.name,
        "log2_ratio": change and [change.low, change.log2_ratio, change.high],
        "auc": change and [change.auc_base, change.auc_target],
        "hit": cosine >= MATCH and change is not None and CALLED.get(change.name) == owner,
    }


def alone(effects: LayerEffects, latent: int, sign: int) -> Group:
    """A latent as its own group."""
    return Group(str(latent), effects, 0, RESPONSE, (Member(latent, 1.0, sign),), 0.0, 0.0, 0)


def candidates(effects: LayerEffects, extraction: Extraction) -> list[tuple[int, int]]:
    """Latents that the class rule could call at all, each with the sign of its change; the rest is not classified."""
    chosen = ~extraction.units.discovery
    if effects.scaling is not None:
        specific = [int(j) for j in np.flatnonzero(effects.alive) if effects.scaling.specific(int(j))]
        return [(j, 1 if effects.scaling.sums.own[j] == effects.side("target") else -1) for j in specific]
    chosen_latents = []
    for j in np.flatnonzero(effects.alive).tolist():
        group = alone(effects, j, 1)
        epsilon = ratio_epsilon(group, chosen)
        sides = [unit_activity(group, side)[chosen].mean() + epsilon for side in SIDES]
        ratio = float(np.log2(sides[1] / sides[0]))
        if abs(ratio) >= np.log2(METHOD.ratio_added):
            chosen_latents.append((j, 1 if ratio > 0 else -1))
    return chosen_latents


def summarize(name: str, trials: list[dict[str, Any]], *, judged: bool) -> list[Figure]:
    """Recall and false discovery proportion of both classes, pooled over seeds."""
    figures = [
        Figure(
            f"{name}: directions found",
            mean(one["recovered"] for one in trials),
            "share",
            "",
            None,
            f"explained variance {mean(one['explained'] for one in trials):.3f}",
        )
    ]
    for side in ("base", "target"):
        hits = [row["hit"] for one in trials for row in one["planted"] if row["side"] == side]
        calls = [call["true"] for one in trials for call in one["calls"] if call["side"] == side]
        recall, false = mean(hits), 1 - mean(calls) if calls else 0.0
        figures += [
            Figure(
                f"{name}: recall, {side}-specific",
                recall,
                "share",
                f">= {RECALL}",
                recall >= RECALL if judged else None,
                f"{sum(hits)} of {len(hits)}",
            ),
            Figure(
                f"{name}: false discoveries, {side}-specific",
                false,
                "share",
                f"<= {MAX_FALSE}",
                false <= MAX_FALSE if judged else None,
                f"{len(calls) - sum(calls)} of {len(calls)}",
            ),
        ]
    return figures
