"""Loads an analyzed run again, for what its stored results do not contain: features, effects, activations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from analyze.extraction import CLASSES, BoolArray, Extraction, load_extraction
from analyze.features import LayerEffects, measure_effects
from analyze.findings import confirm_groups
from analyze.groups import Residuals, choose_scopes, make_groups
from fi_store.config import RunConfig
from fi_store.dictionaries import load_dictionary
from fi_store.store import Store


@dataclass(frozen=True)
class Reopened:
    """An analyzed run in memory."""

    run_id: str
    config: RunConfig
    extraction: Extraction
    layers: list[LayerEffects]
    residuals: Residuals


def reopen(store: Store, run_id: str, *, shams: bool = True) -> Reopened:
    """The extraction, the dictionaries and the effects of a run, as its analysis had them.

    Without `shams` the floors are the configured minimum, for uses that need no floor.
    """
    run = store.run(run_id)
    config = RunConfig(**run.config)
    extraction = load_extraction(store, run)
    if not shams:
        extraction = replace(extraction, readers=("base", "target"))
    layers: list[LayerEffects] = []
    residuals: dict[tuple[str, int], torch.Tensor] = {}
    for row in store.rows(
        "select site, layer, path from dictionary where run_id = $run order by site, layer", run=run.id
    ):
        activations = {r: extraction.activations(r, row["site"], row["layer"]) for r in extraction.readers}
        for reader in ("base", "target"):
            residuals[reader, len(layers)] = activations[reader]
        dictionary = load_dictionary(store.folder / row["path"])
        anchor = "base" if run.canonical_first == "base" else "target"
        layers.append(measure_effects(extraction, dictionary, activations, anchor, config.feature_threshold))
    return Reopened(run.id, config, extraction, layers, Residuals(residuals, extraction))


def permuted_labels(effects: LayerEffects, extraction: Extraction, flipped: BoolArray) -> LayerEffects:
    """The layer with base and target exchanged in the units where `flipped` (n,) is True.

    What both models share (scales, which features are alive) and the floors stay.
    """
    means = dict(effects.means)
    for index in range(len(CLASSES)):
        base, target = means["base", index], means["target", index]
        means["base", index] = np.where(flipped[:, None], target, base)
        means["target", index] = np.where(flipped[:, None], base, target)
    moves = flipped[extraction.rows.unit].astype(np.float32)
    moved, kept = sp.diags_array(moves), sp.diags_array(1 - moves)
    base_code, target_code = effects.codes["base"], effects.codes["target"]
    codes = dict(effects.codes)
    codes["base"] = sp.csc_array(kept @ base_code + moved @ target_code)
    codes["target"] = sp.csc_array(kept @ target_code + moved @ base_code)
    return replace(effects, means=means, codes=codes)


class Search(NamedTuple):
    """How many groups were tested on the confirmation half, and how many passed gate 2."""

    tested: int
    confirmed: int


def with_smallest_floors(opened: Reopened) -> Reopened:
    """The run with the configured minimum instead of floors from shams."""
    smallest = np.full(len(CLASSES), opened.config.feature_threshold)
    return replace(
        opened,
        layers=[
            replace(layer, candidate_floors=smallest, floors=smallest, scoped=smallest)
            for layer in opened.layers
        ],
    )


def search_after_permuting(opened: Reopened, seed: int) -> Search:
    """The search after base and target were exchanged in each prompt cluster by the toss of a coin."""
    units = opened.extraction.units
    coin = np.random.default_rng(seed).random(int(units.clusters.max()) + 1) < 0.5
    layers = [permuted_labels(one, opened.extraction, coin[units.clusters]) for one in opened.layers]
    groups = make_groups(layers, opened.extraction)[: opened.config.candidates]
    tested = confirm_groups(
        groups,
        choose_scopes(groups, layers, opened.extraction),
        layers,
        opened.extraction,
        opened.config.seed,
    )
    return Search(len(tested), sum(item.confirmed(opened.config.alpha) for item in tested))
