"""Random directions of the same size as a change: what any direction of the layer's difference would carry.

Directions are drawn from the second moment of h_t - h_b on D at the change's layer and positions, with the span of its
features projected out, and get the change's length at every row (METHOD section 5). They are scored like the change, by
attribution, so a thousand of them need no pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from analyze.causal.arms import Float32, Patch, Rows, control_patch, differences, rows_of
from analyze.extraction import BoolArray, Extraction, FloatArray, IntArray
from analyze.shards import BLOCK, Vectors
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side


@dataclass(frozen=True)
class SideSlopes:
    """(N, d) of one side: the gradient of what a patch takes away, grad A_t in the target and -grad A_b in the base."""

    gradients: Vectors
    side: Side

    def __getitem__(self, rows: IntArray) -> Float32:
        """(r, d) at ascending rows."""
        found = self.gradients[torch.from_numpy(rows)].float().numpy()
        return found if self.side == "target" else -found


@dataclass(frozen=True, eq=False)
class Controls:
    """The draws for a change at its tested layer. `slopes`: those of either side, towards closing the gap."""

    patch: Patch  # the change's, over all units
    directions: FloatArray  # (draws, d) of length 1
    slopes: Mapping[Side, SideSlopes | FloatArray]
    discovery: BoolArray  # (r,) rows of the patch that are of D
    _known: dict[tuple[Side, bool], tuple[float, FloatArray]] = field(
        default_factory=dict, init=False, compare=False
    )

    def score(self, side: Side, *, discovery: bool) -> tuple[float, FloatArray]:
        """Nats that attribution assigns to the change and to each draw (draws,) on one half, summed over rows.

        A draw has the sign that closes the gap on D.
        """
        own, weighted = self._sums(side, discovery)
        return own, self.signs(side) * (self.directions @ weighted)

    def signs(self, side: Side) -> FloatArray:
        """(draws,) +1 or -1."""
        return np.where(self.directions @ self._sums(side, True)[1] >= 0, 1.0, -1.0)

    def _sums(self, side: Side, discovery: bool) -> tuple[float, FloatArray]:
        """Over the rows of one half: the change's own nats, and (d,) slopes weighted by the change's length there."""
        if (side, discovery) not in self._known:
            rows = np.flatnonzero(self.discovery == discovery)
            own, weighted = 0.0, np.zeros(self.directions.shape[1])
            for start in range(0, len(rows), BLOCK):
                at = rows[start : start + BLOCK]
                vectors, slopes = self.patch.at(at), self.slopes[side][self.patch.rows[at]]
                own += float((slopes * vectors).sum())
                weighted += np.linalg.norm(vectors, axis=1) @ slopes
            self._known[side, discovery] = own, weighted
        return self._known[side, discovery]

    def p_value(self, side: Side) -> float:
        """(1 + draws that score at least as much on C) / (1 + draws)."""
        own, draws = self.score(side, discovery=False)
        return float((1 + (draws >= own).sum()) / (1 + len(draws)))

    def strong(self, side: Side, run_id: str) -> Patch:
        """The draw at `METHOD.control_level` of the scores on D, as a patch."""
        _, draws = self.score(side, discovery=True)
        at = int(np.argsort(draws, kind="stable")[round(METHOD.control_level * (len(draws) - 1))])
        return control_patch(self.patch, self.directions[at], int(self.signs(side)[at]), run_id)


def draw_controls(patch: Patch, both: Rows, extraction: Extraction, seed: int) -> Controls:
    """The draws for a change's patch over all units."""
    effects = patch.effects
    generator = np.random.default_rng([seed, effects.layer, *patch.classes])
    drawn = np.zeros((METHOD.control_draws, both["base"].shape[1]))
    for part in differences(both, rows_of(extraction, patch.classes, extraction.units.discovery)):
        drawn += generator.standard_normal((len(drawn), len(part))) @ part.astype(np.float64)
    assert patch.directions is not None
    basis = torch.linalg.qr(torch.from_numpy(patch.directions.T.astype(np.float64)))[0].numpy()  # (d, k)
    drawn -= drawn @ basis @ basis.T
    lengths = np.linalg.norm(drawn, axis=1, keepdims=True)
    directions = np.divide(drawn, lengths, out=np.zeros_like(drawn), where=lengths > 0)
    slopes = {
        side: SideSlopes(extraction.gradients(side, effects.site, effects.layer), side) for side in SIDES
    }
    return Controls(patch, directions, slopes, extraction.rows.discovery[patch.rows])
