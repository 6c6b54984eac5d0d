"""What will be tested on C, fixed on D: the changes in their order, their layers, their arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analyze.causal.arms import Patch, Rows, features_patch, layer_patch
from analyze.causal.changes import Change
from analyze.causal.controls import Controls, draw_controls
from analyze.causal.requests import Request, as_units
from analyze.extraction import BoolArray, Extraction, IntArray
from analyze.features import LayerEffects
from analyze.groups import Residuals
from fi_store.method import METHOD
from fi_store.store import dictionary_path
from fi_store.vocabulary import SIDES, ArmKind, Side

LAYER_ARMS: tuple[ArmKind, ...] = ("whole", "dictionary", "mean_shift")
"""What is patched of a whole layer: the first wherever a change has features, the others where one is tested."""


@dataclass(frozen=True, eq=False)
class PlannedChange:
    """A change with its patches: at every layer where it has features, and the controls at the tested one."""

    change: Change
    patches: Mapping[int, Patch]  # index of the layer -> patch
    controls: Controls | None  # None without gradients
    control_patches: Mapping[Side, Patch]
    answered_controls: Mapping[Side, Patch]  # those at the layer of `answered`

    @property
    def tested(self) -> Patch:
        return self.patches[self.change.tested_index]

    @property
    def answered(self) -> Patch:
        """The patch under which models answer anew: at the layer where the change holds most."""
        return self.patches[self.change.strongest_index]


@dataclass(frozen=True, eq=False)
class CausalPlan:
    """All that is asked on C. `layer_patches`: (index of the layer, position classes, kind) -> patch."""

    changes: tuple[PlannedChange, ...]
    layer_patches: Mapping[tuple[int, tuple[int, ...], ArmKind], Patch]
    # of the first change, of the first two, and so on, at one layer; None before one has features there
    cumulative: tuple[Patch | None, ...]
    units: IntArray  # of C, those with a gap
    some: IntArray  # of these, where what only describes a layer is patched
    also: IntArray  # of D, read for the words that a change pushes there

    @cached_property
    def requests(self) -> dict[tuple[str | None, Side], Request]:
        """(arm's id, side) -> request; both sides of every arm, and of none."""
        units, some = as_units(self.units), as_units(self.some)
        both_halves = as_units(np.concatenate([self.also, self.units]))
        asked: list[Request] = []
        for side in SIDES:
            asked.append(Request("read", side, None, both_halves))
            for planned in self.changes:
                asked.append(Request("read", side, planned.tested, both_halves, words=True))
                asked.append(Request("read", side, self.ceiling(planned), units))
                if side in planned.control_patches:
                    asked.append(Request("read", side, planned.control_patches[side], units))
            descriptive = [patch for planned in self.changes for patch in planned.patches.values()]
            descriptive += [*self.layer_patches.values(), *filter(None, self.cumulative)]
            asked += [Request("read", side, patch, some) for patch in descriptive]
        found: dict[tuple[str | None, Side], Request] = {}
        for each in asked:  # what is tested comes first, and is read on all of C
            found.setdefault((each.patch.id if each.patch else None, each.side), each)
        return found

    def ceiling(self, planned: PlannedChange) -> Patch:
        """The whole difference at a change's tested layer and positions."""
        return self.layer_patches[planned.change.tested_index, planned.tested.classes, "whole"]

    def to_json(self, layers: Sequence[LayerEffects]) -> list[dict[str, object]]:
        """The changes as the store keeps the plan."""
        return [
            {
                "groups": [
                    {
                        "layer": group.effects.layer,
                        "position_class": group.class_name,
                        "latents": [member.latent for member in group.members],
                    }
                    for group in planned.change.groups
                ],
                "behavior": None if planned.change.behavior is None else planned.change.behavior + 1,
                "layer": layers[planned.change.tested_index].layer,
                "share": planned.change.share,
            }
            for planned in self.changes
        ]


def make_plan(
    run_id: str,
    changes: Sequence[Change],
    layers: Sequence[LayerEffects],
    residuals: Residuals,
    extraction: Extraction,
    *,
    units: IntArray,
    also: IntArray,
    threshold: float,
    seed: int,
) -> CausalPlan:
    """The plan for the first changes that hold at least the share `threshold` of a gap on D.

    `units` (of C) and `also` (of D): what is read.
    """
    chosen = [change for change in changes if change.share >= threshold][: METHOD.max_changes]
    spread = np.linspace(0, len(units) - 1, min(METHOD.patched_prompts, len(units)))
    some = units[np.unique(spread.astype(int))]
    every = np.ones(extraction.units.n, dtype=bool)
    planned: list[PlannedChange] = []
    layer_patches: dict[tuple[int, tuple[int, ...], ArmKind], Patch] = {}
    for change in chosen:
        patches = {}
        for index, groups in change.by_layer.items():
            folder = dictionary_path(run_id, layers[index].site, layers[index].layer)
            patches[index] = features_patch("change", groups, extraction, every, folder, change.leader.id)
            kinds = LAYER_ARMS if index == change.tested_index else LAYER_ARMS[:1]
            for kind in kinds:
                key = index, patches[index].classes, kind
                if key not in layer_patches:
                    both = _both(residuals, index)
                    layer_patches[key] = layer_patch(
                        kind, layers[index], key[1], both, extraction, _of(units, every)
                    )
        drawn: dict[int, Controls | None] = {}
        for index in (change.tested_index, change.strongest_index):
            if layers[index].attribution is None:
                drawn[index] = None
                continue
            if index not in drawn:
                both = _both(residuals, index)
                drawn[index] = draw_controls(patches[index], both, extraction, seed)
        tested, answered = (drawn[index] for index in (change.tested_index, change.strongest_index))
        controls = _control_patches(tested, run_id), _control_patches(answered, run_id)
        planned.append(PlannedChange(change, patches, tested, *controls))
    cumulative = _cumulative(run_id, planned, layers, extraction, every)
    return CausalPlan(tuple(planned), layer_patches, cumulative, units, some, also)


def _control_patches(controls: Controls | None, run_id: str) -> dict[Side, Patch]:
    return {} if controls is None else {side: controls.strong(side, run_id) for side in SIDES}


def _cumulative(
    run_id: str,
    planned: Sequence[PlannedChange],
    layers: Sequence[LayerEffects],
    extraction: Extraction,
    every: BoolArray,
) -> tuple[Patch | None, ...]:
    """Patches of the first change, of the first two, and so on, at the latest layer that is tested for one of them."""
    if not planned:
        return ()
    index = max(each.change.tested_index for each in planned)
    folder = dictionary_path(run_id, layers[index].site, layers[index].layer)
    patches: list[Patch | None] = [planned[0].patches.get(index)]
    for number, each in enumerate(planned[1:], start=1):
        groups = [group for one in planned[: number + 1] for group in one.change.by_layer.get(index, ())]
        if index not in each.change.by_layer:
            patches.append(patches[-1])
        else:
            leader = each.change.leader.id
            patches.append(features_patch("cumulative", groups, extraction, every, folder, leader))
    return tuple(patches)


def _of(units: IntArray, every: BoolArray) -> BoolArray:
    """(n,) the units of a list."""
    return np.isin(np.arange(len(every)), units)


def _both(residuals: Residuals, index: int) -> Rows:
    return {side: residuals.rows[side, index] for side in SIDES}
