"""Whether a group turned: both models have it, at the same tokens, in another direction (METHOD section 5).

With a paired SAE a turned group has a side that falls and a side that rises in its place. With a crosscoder of one
width it is what the group's latents stand for in either model that points apart, by more than it is uncertain. The
rules ask whole groups, since a direction is often shared out over several latents, and every rule is its own mirror.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from analyze.dictionaries.inputs import BLOCK
from analyze.effects import LayerEffects
from analyze.groups import Group, token_activity
from analyze.readability import Residuals
from analyze.rows import Extraction, FloatArray, IntArray
from fi_store.config import METHOD
from fi_store.dictionary import SIDES, Crosscoder


def is_redirected(
    group: Group, layers: Sequence[LayerEffects], extraction: Extraction, residuals: Residuals
) -> bool:
    """Whether the group turned, on C in its position class."""
    rows = extraction.rows
    chosen = np.flatnonzero(~rows.discovery & rows.own & (rows.position_class == group.position_class))
    if not layers[group.members[0].layer_index].dictionary.coupled:
        return _changes_sides(group, layers, chosen)
    weight = 0.0
    for at in group.layer_indices:
        dictionary = layers[at].dictionary
        members = [member for member in group.members if member.layer_index == at]
        if isinstance(dictionary, Crosscoder) and dictionary.config.same_width:
            first, second = (
                residuals.rows[reader, at][torch.from_numpy(chosen)] for reader in layers[at].readers
            )
            clusters = extraction.units.clusters[rows.unit[chosen]]
            if points_apart(dictionary, (first, second), clusters, [member.latent for member in members]):
                weight += sum(member.weight for member in members)
    return weight > 0.5


def _changes_sides(group: Group, layers: Sequence[LayerEffects], chosen: IntArray) -> bool:
    """What falls in the base is followed by what rises in the target, and inside either model they are apart."""
    shares = [sum(one.weight for one in group.members if one.sign == sign) for sign in (-1, 1)]
    if min(shares) < METHOD.redirected_share:
        return False
    falls, rises = (
        {reader: token_activity(group, layers, reader, sign)[chosen] for reader in ("base", "target")}
        for sign in (-1, 1)
    )
    follows = _correlation(falls["base"], rises["target"])
    apart = max(_correlation(falls[reader], rises[reader]) for reader in ("base", "target"))
    return follows >= METHOD.redirected_follows and apart < METHOD.redirected_apart


def _correlation(left: FloatArray, right: FloatArray) -> float:
    """0 where one is constant."""
    first, second = left - left.mean(), right - right.mean()
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norms if norms > 1e-12 else 0.0


def points_apart(
    dictionary: Crosscoder, rows: tuple[Tensor, Tensor], clusters: IntArray, latents: Sequence[int]
) -> bool:
    """Whether what some latents stand for has a like length in both models and another direction.

    Rows (n, d) in canonical order. The angle must exceed, by a factor, the one between halves of the clusters.
    """
    halves = group_vectors(dictionary, rows, clusters, latents)
    first, second = (halves[side].sum(dim=0) * dictionary.config.input_scales[side] for side in SIDES)
    lengths = sorted((float(first.norm()), float(second.norm())))
    angle = _angle(first, second)
    if lengths[1] > METHOD.redirected_length * lengths[0] or np.cos(angle) >= METHOD.redirected_cosine:
        return False
    return angle > METHOD.redirected_angles * max(_angle(*halves[side]) for side in SIDES)


def group_vectors(
    dictionary: Crosscoder, rows: tuple[Tensor, Tensor], clusters: IntArray, latents: Sequence[int]
) -> list[Tensor]:
    """For each side (2, d), one row for each half of the clusters: the model's own part of the latents, summed.

    The own part of a row is the latents' part of the reconstruction with the reconstruction error put back; it counts
    where any of them fires.
    """
    config, chosen = dictionary.config, torch.tensor(list(latents))
    half = torch.from_numpy(np.unique(clusters, return_inverse=True)[1] % 2)
    sums = [torch.zeros(2, config.d_model) for _ in SIDES]
    for start in range(0, len(half), BLOCK):
        block = slice(start, start + BLOCK)
        x = dictionary.inputs((rows[0][block], rows[1][block]))
        code = dictionary.encode(x)
        part = code[:, chosen] @ dictionary.w_both[chosen]
        own = x - (code @ dictionary.w_both + dictionary.b_dec) + part
        fires = (code[:, chosen] > 0).any(dim=1).float()
        gather = torch.stack([fires * (half[block] == number) for number in (0, 1)])
        for side in SIDES:
            sums[side] += gather @ own[:, dictionary.part(side)]
    return sums


def _angle(first: Tensor, second: Tensor) -> float:
    """Radians; a right angle where one is zero."""
    return float(torch.nn.functional.cosine_similarity(first, second, dim=0).clamp(-1, 1).arccos())
