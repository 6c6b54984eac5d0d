"""A world of known directions: rows of two models that share most of them and have some of their own.

Fixed are: 512 directions in 128 dimensions (unless given), firing rates from 10% to 0.3% by Zipf's law, directions of
a group of four firing together with correlation 0.3, lognormal norms (sd 0.5), amplitudes uniform in [0.5, 1.5],
white noise of each model at 20 dB. Nothing here may be tuned to what a dictionary can find.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Owner = Literal["both", "base", "target"]
HIGHEST_RATE, LOWEST_RATE = 0.10, 0.003
GROUP = 4
TOGETHER = 0.3
"""Correlation of firing between two directions of a group that have the same rate."""
NORM_SD = 0.5
NOISE = 10 ** (-20 / 20)
"""Noise amplitude over signal amplitude: 20 dB."""


@dataclass(frozen=True)
class World:
    """Directions with their owners and how often they fire."""

    directions: torch.Tensor  # (n, d), lengths are the norms
    rates: torch.Tensor  # (n,)
    groups: torch.Tensor  # (n,) index of the group
    owner: tuple[Owner, ...]

    def rows(self, n: int, random: torch.Generator, block: int = 8192) -> tuple[torch.Tensor, torch.Tensor]:
        """Activations (n, d) of base and target on the same n tokens, float32."""
        parts = [self._block(min(block, n - start), random) for start in range(0, n, block)]
        base, target = (torch.cat(side) for side in zip(*parts, strict=True))
        return base, target

    def _block(self, n: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        count, d = self.directions.shape
        alone = torch.rand(n, count, generator=random)
        shared = torch.rand(n, int(self.groups.max()) + 1, generator=random)[:, self.groups]
        # Two directions that both use the group's number fire together; each does so with probability sqrt(0.3).
        joins = torch.rand(n, count, generator=random) < TOGETHER**0.5
        fires = torch.where(joins, shared, alone) < self.rates
        codes = fires * (0.5 + torch.rand(n, count, generator=random))
        sides = []
        for side in ("base", "target"):
            has = torch.tensor([owner in ("both", side) for owner in self.owner])
            signal = (codes * has) @ self.directions
            noise = torch.randn(n, d, generator=random)
            sides.append(signal + NOISE * self._signal_rms() * noise)
        return sides[0], sides[1]

    def _signal_rms(self) -> float:
        """Root mean square of a signal component, as if directions fired independently and all were shared."""
        second_moment = 1 + 1 / 12  # of an amplitude uniform in [0.5, 1.5]
        power = (self.rates * second_moment * self.directions.square().sum(dim=1)).sum()
        return float((power / self.directions.shape[1]) ** 0.5)


def make_world(seed: int, specific: float, *, d: int = 128, n: int = 512) -> World:
    """A world in which a share `specific` of the directions belongs to one model, half of them to each."""
    random = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(n, d, generator=random), dim=1)
    norms = torch.exp(NORM_SD * torch.randn(n, 1, generator=random))
    exponent = torch.log(torch.tensor(HIGHEST_RATE / LOWEST_RATE)) / torch.log(torch.tensor(float(n)))
    rates = (HIGHEST_RATE * torch.arange(1, n + 1) ** -exponent)[torch.randperm(n, generator=random)]
    groups = torch.randperm(n, generator=random) // GROUP
    owner: list[Owner] = ["both"] * n
    each = round(specific * n / 2)
    for number, index in enumerate(torch.randperm(n, generator=random)[: 2 * each].tolist()):
        owner[index] = "base" if number < each else "target"
    return World(directions * norms, rates, groups, tuple(owner))
