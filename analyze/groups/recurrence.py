"""How often a group recurs in dictionaries that were learned with other seeds (METHOD section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from analyze.features import LayerEffects
from analyze.groups.join import Group, main_side, with_companions
from fi_store.method import METHOD

LEADING = 3
"""How many members of one sign and layer, strongest first, span the space that a direction is compared with."""


def recurrences(
    groups: Sequence[Group],
    layers: Sequence[LayerEffects],
    others: Sequence[tuple[Sequence[Group], Sequence[LayerEffects]]],
) -> dict[int, float]:
    """id(group) -> share of the other seeds in which it recurs; empty without other seeds.

    `others`: groups and layers of each other seed, with the same sites and layers in the same order. A group recurs if
    a group of the same position class has members of the same sign, at the layer of this group's strongest feature,
    whose span holds that feature's direction: the cosine between the direction and the span is at least 0.7.
    """
    if not others:
        return {}
    return {
        id(group): sum(_recurs(group, layers, *other) for other in others) / len(others)
        for group in with_companions(groups)
    }


def _recurs(
    group: Group,
    layers: Sequence[LayerEffects],
    other_groups: Sequence[Group],
    other_layers: Sequence[LayerEffects],
) -> bool:
    leading = main_side(group)[0]
    direction = layers[leading.layer_index].dictionary.w_dec[leading.latent]
    decoders = other_layers[leading.layer_index].dictionary.w_dec
    for candidate in with_companions(other_groups):
        if candidate.position_class != group.position_class:
            continue
        latents = [
            member.latent
            for member in candidate.members
            if member.layer_index == leading.layer_index and member.sign == leading.sign
        ][:LEADING]
        if latents and span_cosine(direction, decoders[latents]) >= METHOD.recurrence_cosine:
            return True
    return False


def span_cosine(direction: torch.Tensor, rows: torch.Tensor) -> float:
    """Cosine between a direction (d,) of length 1 and the span of rows (r, d): 1 inside it, 0 at a right angle."""
    basis = torch.linalg.qr(rows.T.double())[0]  # (d, r)
    return float((basis.T @ direction.double()).norm())
