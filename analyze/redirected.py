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
from fi_store.dictionary import SIDES, Crosscoder, PairedSae


def is_redirected(
    group: Group, layers: Sequence[LayerEffects], extraction: Extraction, residuals: Residuals
) -> bool:
    """Whether the group turned, on C in its position class."""
    rows = extraction.rows
    chosen = np.flatnonzero(~rows.discovery & rows.own & (rows.position_class == group.position_class))
    clusters = extraction.units.clusters[rows.unit[chosen]]
    half = np.unique(clusters, return_inverse=True)[1] % 2
    if isinstance(layers[group.members[0].layer_index].dictionary, PairedSae):
        return _changes_sides(group, layers, (chosen[half == 0], chosen[half == 1]))
    weight = 0.0
    for at in group.layer_indices:
        dictionary = layers[at].dictionary
        members = [member for member in group.members if member.layer_index == at]
        if isinstance(dictionary, Crosscoder) and dictionary.config.same_width:
            first, second = (
                residuals.rows[reader, at][torch.from_numpy(chosen)] for reader in layers[at].readers
            )
            if points_apart(dictionary, (first, second), half, [member.latent for member in members]):
                weight += sum(member.weight for member in members)
    return weight > 0.5  # of the group's, where it spans several layers


def _changes_sides(group: Group, layers: Sequence[LayerEffects], halves: tuple[IntArray, IntArray]) -> bool:
    """What falls in the base is followed by what rises in the target, and inside either model they are apart.

    Asked in both halves of the prompt families, so that a few rows do not decide.
    """
    shares = [sum(one.weight for one in group.members if one.sign == sign) for sign in (-1, 1)]
    if min(shares) < METHOD.redirected_share:
        return False
    falls, rises = (
        {reader: token_activity(group, layers, reader, sign) for reader in ("base", "target")}
        for sign in (-1, 1)
    )
    for half in halves:
        if min((falls["base"][half] > 0).sum(), (rises["target"][half] > 0).sum()) < METHOD.alive_tokens:
            return False
        follows = _correlation(falls["base"][half], rises["target"][half])
        apart = max(_correlation(falls[reader][half], rises[reader][half]) for reader in ("base", "target"))
        if follows < METHOD.redirected_follows or apart >= METHOD.redirected_apart:
            return False
    return True


def _correlation(left: FloatArray, right: FloatArray) -> float:
    """0 where one is constant."""
    first, second = left - left.mean(), right - right.mean()
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norms if norms > 1e-12 else 0.0


def points_apart(
    dictionary: Crosscoder, rows: tuple[Tensor, Tensor], half: IntArray, latents: Sequence[int]
) -> bool:
    """Whether what some latents add to a model is of like length in both and points elsewhere.

    Rows (n, d) in canonical order, each in half 0 or 1 of the clusters. The angle between what the latents' decoders
    add up to must exceed, by a factor, the one between halves of what they were seen to stand for.
    """
    added, seen = group_vectors(dictionary, rows, half, latents)
    first, second = (added[side] * dictionary.config.input_scales[side] for side in SIDES)
    lengths = sorted((float(first.norm()), float(second.norm())))
    angle = _angle(first, second)
    if lengths[1] > METHOD.redirected_length * lengths[0] or np.cos(angle) >= METHOD.redirected_cosine:
        return False
    return angle > METHOD.redirected_angles * max(_angle(*seen[side]) for side in SIDES)


def group_vectors(
    dictionary: Crosscoder, rows: tuple[Tensor, Tensor], half: IntArray, latents: Sequence[int]
) -> tuple[list[Tensor], list[Tensor]]:
    """For each side (d,): what the latents' decoders add up to over the rows; and (2, d): what they were seen to stand
    for in each half.

    The latter puts the reconstruction error of the rows where one of them fires back, less its mean over the other
    rows: what the dictionary misses everywhere is nobody's.
    """
    chosen = torch.tensor(list(latents))
    where = torch.from_numpy(half)
    parts = torch.zeros(2, dictionary.w_both.shape[1])
    # (half, fires or not, ...)
    errors, counts = torch.zeros(2, 2, dictionary.w_both.shape[1]), torch.zeros(2, 2)
    for start in range(0, len(where), BLOCK):
        block = slice(start, start + BLOCK)
        x = dictionary.inputs((rows[0][block], rows[1][block]))
        code = dictionary.encode(x)
        error = x - (code @ dictionary.w_both + dictionary.b_dec)
        fires = (code[:, chosen] > 0).any(dim=1)
        for number in (0, 1):
            here = where[block] == number
            parts[number] += code[here][:, chosen].sum(dim=0) @ dictionary.w_both[chosen]
            for place, rows_of in enumerate((here & fires, here & ~fires)):
                errors[number, place] += error[rows_of].sum(dim=0)
                counts[number, place] += rows_of.sum()
    usual = errors[:, 1] / counts[:, 1:].clamp_min(1)
    seen = parts + errors[:, 0] - counts[:, :1] * usual
    sides = [dictionary.part(side) for side in SIDES]
    return [parts.sum(dim=0)[part] for part in sides], [seen[:, part] for part in sides]


def _angle(first: Tensor, second: Tensor) -> float:
    """Radians; a right angle where one is zero."""
    return float(torch.nn.functional.cosine_similarity(first, second, dim=0).clamp(-1, 1).arccos())
