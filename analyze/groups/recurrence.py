"""How often a group recurs in dictionaries that were learned with other seeds (METHOD section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from analyze.groups.group import Group
from fi_store.method import METHOD

LEADING = 3
"""How many members of one sign, strongest first, span the space that a direction is compared with."""


def recurrences(groups: Sequence[Group], others: Sequence[Sequence[Group]]) -> dict[str, float]:
    """Group's id -> share of the other seeds in which it recurs; empty without other seeds.

    `others`: the groups of each other seed, with the same sites and layers in the same order. A group recurs if a group
    of the same layer and position class has members of the same sign whose span holds the direction of this group's
    strongest feature: the cosine between the direction and the span is at least 0.7.
    """
    if not others:
        return {}
    return {group.id: sum(_recurs(group, other) for other in others) / len(others) for group in groups}


def _recurs(group: Group, others: Sequence[Group]) -> bool:
    leading = group.main_side[0]
    direction = group.effects.dictionary.w_dec[leading.latent]
    for candidate in others:
        if (candidate.index, candidate.position_class) != (group.index, group.position_class):
            continue
        latents = [member.latent for member in candidate.members if member.sign == leading.sign][:LEADING]
        decoders = candidate.effects.dictionary.w_dec
        if latents and span_cosine(direction, decoders[latents]) >= METHOD.recurrence_cosine:
            return True
    return False


def span_cosine(direction: torch.Tensor, rows: torch.Tensor) -> float:
    """Cosine between a direction (d,) of length 1 and the span of rows (r, d): 1 inside it, 0 at a right angle."""
    basis = torch.linalg.qr(rows.T.double())[0]  # (d, r)
    return float((basis.T @ direction.double()).norm())
