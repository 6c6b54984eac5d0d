"""The layers of a pair: those of the deeper model, each beside the other's layer at the same relative depth."""

from __future__ import annotations

from typing import NamedTuple

from fi_store.vocabulary import Side


class Depths(NamedTuple):
    """How many layers the two models of a pair have. The layers of the pair are numbered as the deeper model's."""

    base: int
    target: int

    @property
    def n_layers(self) -> int:
        """Layers of the pair."""
        return max(self)

    def own(self, side: Side, layer: int) -> int:
        """The number that a layer of the pair has in one of its models.

        It is that model's first layer whose share of its depth, counted from the input, is at least as large: the last
        layers are a pair, and models of one depth are paired by number.
        """
        n_layers = self.base if side == "base" else self.target
        return -(-(layer + 1) * n_layers // self.n_layers) - 1

    def label(self, layer: int) -> str:
        """A layer of the pair in words: `17`, or `b11-t17` if the depths differ."""
        if self.base == self.target:
            return str(layer)
        return f"b{self.own('base', layer):02d}-t{self.own('target', layer):02d}"
