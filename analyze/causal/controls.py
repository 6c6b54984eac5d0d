"""Random directions of the same size as a change: what any direction of the layer's difference would carry.

Directions are drawn from the second moment of h_t - h_b on D at the change's layer and positions, with the span of its
features projected out, and get the change's length at every row (METHOD section 5). They are scored like the change, by
attribution, so a thousand of them need no pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from analyze.causal.arms import Float32, Patch, Rows, control_patch, differences, rows_of
from analyze.extraction import BoolArray, Extraction, FloatArray
from fi_store.method import METHOD
from fi_store.vocabulary import Side


@dataclass(frozen=True, eq=False)
class Controls:
    """The draws for a change at its tested layer. `slopes`: (N, d) of either side, towards closing the gap."""

    patch: Patch  # the change's, over all units
    directions: FloatArray  # (draws, d) of length 1
    slopes: Mapping[Side, Float32]
    discovery: BoolArray  # (r,) rows of the patch that are of D

    def score(self, side: Side, *, discovery: bool) -> tuple[float, FloatArray]:
        """Nats that attribution assigns to the change and to each draw (draws,) on one half, summed over rows.

        A draw has the sign that closes the gap on D.
        """
        chosen = self.discovery if discovery else ~self.discovery
        slopes = self.slopes[side][self.patch.rows[chosen]]
        own = float((slopes * self.patch.vectors[chosen]).sum())
        return own, self.signs(side) * (self.directions @ self._weighted(side, chosen))

    def signs(self, side: Side) -> FloatArray:
        """(draws,) +1 or -1."""
        return np.where(self.directions @ self._weighted(side, self.discovery) >= 0, 1.0, -1.0)

    def _weighted(self, side: Side, chosen: BoolArray) -> FloatArray:
        """(d,) slopes summed over rows, weighted by the change's length there."""
        lengths = np.linalg.norm(self.patch.vectors[chosen], axis=1)
        return np.asarray(lengths @ self.slopes[side][self.patch.rows[chosen]], dtype=np.float64)

    def p_value(self, side: Side) -> float:
        """(1 + draws that score at least as much on C) / (1 + draws)."""
        own, draws = self.score(side, discovery=False)
        return float((1 + (draws >= own).sum()) / (1 + len(draws)))

    def strong(self, side: Side, run_id: str) -> Patch:
        """The draw at `METHOD.control_level` of the scores on D, as a patch."""
        _, draws = self.score(side, discovery=True)
        at = int(np.argsort(draws, kind="stable")[round(METHOD.control_level * (len(draws) - 1))])
        return control_patch(self.patch, self.directions[at], int(self.signs(side)[at]), run_id)


def draw_controls(
    patch: Patch, both: Rows, slopes: Mapping[Side, Float32], extraction: Extraction, seed: int
) -> Controls:
    """The draws for a change's patch over all units."""
    learned = differences(both, rows_of(extraction, patch.classes, extraction.units.discovery)).astype(
        np.float64
    )
    generator = np.random.default_rng([seed, patch.effects.layer, *patch.classes])
    drawn = generator.standard_normal((METHOD.control_draws, len(learned))) @ learned
    assert patch.directions is not None
    basis = torch.linalg.qr(torch.from_numpy(patch.directions.T.astype(np.float64)))[0].numpy()  # (d, k)
    drawn -= drawn @ basis @ basis.T
    lengths = np.linalg.norm(drawn, axis=1, keepdims=True)
    directions = np.divide(drawn, lengths, out=np.zeros_like(drawn), where=lengths > 0)
    return Controls(patch, directions, slopes, extraction.rows.discovery[patch.rows])


def side_slopes(extraction: Extraction, site: str, layer: int) -> dict[Side, Float32]:
    """(N, d) of either side: the gradient of what a patch takes away, grad A_t in the target and -grad A_b in the
    base."""
    return {
        "target": extraction.gradients("target", site, layer).float().numpy(),
        "base": -extraction.gradients("base", site, layer).float().numpy(),
    }
