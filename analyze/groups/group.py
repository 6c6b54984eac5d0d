"""A group of features of one layer and position class that act as one, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analyze.extraction import CLASSES, BoolArray, Extraction, FloatArray, IntArray
from analyze.features import LayerEffects
from fi_store.vocabulary import Side


@dataclass(frozen=True)
class Member:
    """A feature's part in a group."""

    latent: int
    weight: float  # > 0, share of the group's attribution; the weights of a group sum to 1
    sign: int  # +1: stronger in the target on D, -1: weaker


@dataclass(frozen=True, eq=False)
class Group:
    """Features of one layer and position class that act as one."""

    id: str
    effects: LayerEffects  # its layer
    index: int  # of the layer among the analyzed ones
    position_class: int
    members: tuple[Member, ...]  # strongest first
    attributed: float  # nats per prompt of D that attribution assigns to it; without gradients, a length
    share: float  # the largest share of a gap on D that it holds: of the whole gap, or of that of a behavior
    gap: int  # index of that gap; 0: the whole one
    rest: bool = False  # joined from groups that are too small to be patched one by one

    @cached_property
    def latents(self) -> IntArray:
        return np.asarray([member.latent for member in self.members])

    @property
    def class_name(self) -> str:
        return CLASSES[self.position_class]

    @property
    def direction(self) -> int:
        """+1 if most of its weight gains in the target, -1 if most loses; swapping the pair flips it."""
        return 1 if sum(member.weight * member.sign for member in self.members) >= 0 else -1

    @property
    def main_side(self) -> list[Member]:
        """The members that move in the group's direction."""
        return [member for member in self.members if member.sign == self.direction]

    def rows(self, extraction: Extraction, units: BoolArray) -> IntArray:
        """The rows of its class in the texts of these units (n,) at which one of its features moves, ascending."""
        rows = extraction.rows
        inside = rows.own & (rows.position_class == self.position_class) & units[rows.unit]
        moves = np.zeros(rows.n, dtype=bool)
        moves[self.effects.moved(self.latents).indices] = True
        return np.flatnonzero(inside & moves)

    def scores(self) -> FloatArray:
        """(n,) weighted theta of each unit: sum_j w_j sign_j direction theta_ij.

        A feature that loses in a group that gains counts by how much it loses. Swapping the pair flips exactly the
        sign.
        """
        theta = self.effects.theta(self.position_class)[:, self.latents]
        weights = np.asarray([member.weight * member.sign for member in self.members]) * self.direction
        return np.asarray(theta @ weights, dtype=np.float64)

    def activity(self, reader: Side, sign: int) -> FloatArray:
        """(N,) weighted activity sum_j w_j f_j / S_j of one reader, over the members whose sign is `sign`."""
        members = [member for member in self.members if member.sign == sign]
        if not members:
            return np.zeros(self.effects.codes[reader].shape[0])
        latents, weights = zip(*((member.latent, member.weight) for member in members), strict=True)
        return self.effects.activity(reader, np.asarray(latents), np.asarray(weights))

    def change_at_tokens(self) -> FloatArray:
        """(N,) sum_j w_j sign_j (f_j^target - f_j^base) / S_j: positive where the members move as they do on average.

        Unchanged when the pair is swapped.
        """
        total = np.zeros(self.effects.codes["base"].shape[0])
        for sign in (1, -1):
            total += sign * (self.activity("target", sign) - self.activity("base", sign))
        return total
