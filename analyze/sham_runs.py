"""What the same search finds on targets without content, for comparison with the findings (METHOD sections 3 and 8).

A sham replaces the target: its features are grouped on D and tested once on C exactly like the pair's. Its floors come
from the *other* shams, since a sham can hardly exceed a floor that it set itself; so at least two shams are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from analyze.extraction import CLASSES, Extraction
from analyze.features import LayerEffects, beside, sham_levels
from analyze.findings import confirm_groups
from analyze.groups import choose_scopes, make_groups


@dataclass(frozen=True)
class ShamRun:
    """How many groups of one sham were tested, and how many passed gate 2."""

    number: int
    tested: int
    confirmed: int


def run_shams(
    layers: Sequence[LayerEffects],
    extraction: Extraction,
    anchor: str,
    *,
    candidates: int,
    alpha: float,
    minimum_floor: float,
    seed: int,
) -> list[ShamRun]:
    """One entry per sham, none with fewer than two shams. `anchor` is the reader that they were built around."""
    if not layers or len(extraction.shams) < 2:
        return []
    found = []
    for number, sham in enumerate(extraction.shams):
        effects = [_with_sham(layer, extraction, anchor, sham, minimum_floor) for layer in layers]
        groups = make_groups(effects, extraction)[:candidates]
        tested = confirm_groups(groups, choose_scopes(groups, effects, extraction), effects, extraction, seed)
        found.append(ShamRun(number, len(tested), sum(item.confirmed(alpha) for item in tested)))
    return found


def _with_sham(
    effects: LayerEffects, extraction: Extraction, anchor: str, sham: str, minimum_floor: float
) -> LayerEffects:
    """The layer with the anchor as base and the sham as target, floors from the other shams."""
    others = [other for other in extraction.shams if other != sham]
    means = {("base", c): effects.means[beside(anchor, sham), c] for c in range(len(CLASSES))}
    means |= {("target", c): effects.means[sham, c] for c in range(len(CLASSES))}

    def moved(other: str, position_class: int) -> npt.NDArray[np.float32]:
        return effects.theta_between(beside(anchor, other), other, position_class)

    levels = sham_levels(moved, others, extraction, effects.alive, minimum_floor)
    codes = {"base": effects.codes[beside(anchor, sham)], "target": effects.codes[sham]}
    return replace(effects, means=means, codes=codes, **levels._asdict())
