"""The gap: how much more likely each model finds its own answer than the other's, from tokens up (METHOD section 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analyze.extraction import BoolArray, Extraction, FloatArray
from analyze.features import other_side
from fi_store.vocabulary import SIDES, Side

TokenLogprobs = Mapping[tuple[int, Side], FloatArray]
"""(unit, author) -> log p of the answer's tokens, in nats."""


@dataclass(frozen=True)
class Gap:
    """A_b and A_t of every unit, NaN where an answer was not read, and what they are made of."""

    halves: Mapping[Side, FloatArray]  # (n,) A_side, nats per token
    lengths: Mapping[Side, FloatArray]  # author -> (n,) mean of both models' token counts

    @property
    def total(self) -> FloatArray:
        """(n,) G."""
        return self.halves["base"] + self.halves["target"]

    @property
    def known(self) -> BoolArray:
        """(n,) the units that have a gap."""
        return np.isfinite(self.total)

    def closed(self, effects: TokenLogprobs, n: int) -> FloatArray:
        """(n,) A - A patched, nats per token, from token effects (`token_effects`); NaN unless both answers were
        read."""
        total = np.full(n, np.nan)
        for unit in {unit for unit, _ in effects}:
            if all((unit, author) in effects for author in SIDES):
                base, target = (
                    effects[unit, author].sum() / (2 * self.lengths[author][unit]) for author in SIDES
                )
                total[unit] = base + target
        return total


def measure_gap(extraction: Extraction) -> Gap:
    """The gap of every unit, from the log-probabilities that the extraction stored."""
    n, answers = extraction.units.n, extraction.answers
    halves: dict[Side, FloatArray] = {side: np.full(n, np.nan) for side in SIDES}
    lengths: dict[Side, FloatArray] = {side: np.full(n, np.nan) for side in SIDES}
    for unit in range(n):
        if (unit, "base", "base") not in answers:
            continue
        for author in SIDES:
            counts = [len(answers[unit, author, reader].logprobs) for reader in SIDES]
            lengths[author][unit] = max(sum(counts) / 2, 0.5)  # an answer without tokens has no sum either
        for side in SIDES:
            own, other = (
                answers[unit, author, side].logprobs.sum() / lengths[author][unit]
                for author in (side, other_side(side))
            )
            halves[side][unit] = (own - other) / 2
    return Gap(halves, lengths)


def token_effects(
    clean: TokenLogprobs, patched: TokenLogprobs, side: Side
) -> dict[tuple[int, Side], FloatArray]:
    """(unit, author) -> (k,) nats by which a patch of `side` closes the gap at each token of an answer.

    In the model's own answer what it takes away counts, in the other's what it adds.
    """
    return {
        key: (clean[key] - patched[key]) * (1 if key[1] == side else -1) for key in patched if key in clean
    }
