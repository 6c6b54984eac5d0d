"""Whether a group turned: both models have it, at the same tokens, in another direction (METHOD section 5).

With a paired SAE a turned group has a side that falls and a side that rises in its place. With a crosscoder of one
width it is what the group's latents stand for in either model that points apart, by more than it is uncertain. The
rules ask whole groups, since a direction is often shared out over several latents, and every rule is its own mirror.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from analyze.extraction import Extraction, FloatArray, IntArray
from analyze.features import LayerEffects
from analyze.fit import BLOCK
from analyze.groups.join import Group, token_activity
from analyze.groups.readability import Residuals
from fi_store.dictionaries import ORDER, Crosscoder, PairedSae
from fi_store.method import METHOD


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
    chosen = torch.tensor(list(latents))
    added = added_by(dictionary, rows, chosen)
    first, second = (added[dictionary.part(side)] * dictionary.config.input_scales[side] for side in ORDER)
    lengths = sorted((float(first.norm()), float(second.norm())))
    angle = _angle(first, second)
    if lengths[1] > METHOD.redirected_length * lengths[0] or np.cos(angle) >= METHOD.redirected_cosine:
        return False
    seen = stood_for(dictionary, rows, half, chosen)
    return angle > METHOD.redirected_angles * max(_angle(*seen[:, dictionary.part(side)]) for side in ORDER)


def added_by(dictionary: Crosscoder, rows: tuple[Tensor, Tensor], latents: Tensor) -> Tensor:
    """(d_first + d_second,) what the latents' decoders add up to over the rows, in units of the input scales."""
    codes = torch.zeros(len(latents))
    for x in _blocks(dictionary, rows):
        codes += dictionary.encode(x, latents).sum(dim=0)
    return codes @ dictionary.w_both[latents]


def stood_for(dictionary: Crosscoder, rows: tuple[Tensor, Tensor], half: IntArray, latents: Tensor) -> Tensor:
    """(2, d_first + d_second) what the latents were seen to stand for in each half.

    To what their decoders add up to, the reconstruction error of the rows where one of them fires is put back, less its
    mean over the other rows: what the dictionary misses everywhere is nobody's.
    """
    codes = torch.zeros(2, len(latents))
    errors, counts = torch.zeros(4, dictionary.w_both.shape[1]), torch.zeros(4)
    start = 0
    for x in _blocks(dictionary, rows):
        where = torch.from_numpy(half[start : start + len(x)])
        code = dictionary.encode(x)
        error = x - (code @ dictionary.w_both + dictionary.b_dec)
        fires = (code[:, latents] > 0).any(dim=1)
        halves = torch.stack([where == number for number in (0, 1)])
        codes += halves.float() @ code[:, latents]
        kinds = torch.cat([halves & fires, halves & ~fires]).float()  # fires in half 0, 1; does not
        errors += kinds @ error
        counts += kinds.sum(dim=1)
        start += len(x)
    usual = errors[2:] / counts[2:, None].clamp_min(1)
    return codes @ dictionary.w_both[latents] + errors[:2] - counts[:2, None] * usual


def _blocks(dictionary: Crosscoder, rows: tuple[Tensor, Tensor]) -> Iterator[Tensor]:
    """The dictionary's inputs of some rows at a time."""
    for first, second in zip(*(torch.split(side, BLOCK) for side in rows), strict=True):
        yield dictionary.inputs((first, second))


def _angle(first: Tensor, second: Tensor) -> float:
    """Radians; a right angle where one is zero."""
    return float(torch.nn.functional.cosine_similarity(first, second, dim=0).clamp(-1, 1).arccos())
