"""Whether a group is redirected: both models have it, at the same tokens, in another direction (METHOD section 6).

With a paired SAE, a redirected group has one side that falls and another that rises instead. With a crosscoder of
models of one width, the group's latents stand for directions in the two models that differ by more than their
uncertainty. The rules test whole groups, since a direction is often spread over several latents. Swapping the pair
changes no verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from analyze.extraction import Extraction, FloatArray, IntArray
from analyze.groups.group import Group
from analyze.groups.readability import Residuals
from analyze.shards import BLOCK, Vectors
from fi_store.dictionaries import ORDER, Crosscoder, PairedSae
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES


def is_redirected(group: Group, extraction: Extraction, residuals: Residuals) -> bool:
    """Whether the group is redirected, on C in its position class."""
    rows = extraction.rows
    chosen = np.flatnonzero(~rows.discovery & rows.own & (rows.position_class == group.position_class))
    half = np.unique(extraction.units.clusters[rows.unit[chosen]], return_inverse=True)[1] % 2
    dictionary = group.effects.dictionary
    if isinstance(dictionary, PairedSae):
        return _changes_sides(group, (chosen[half == 0], chosen[half == 1]))
    if not isinstance(dictionary, Crosscoder) or not dictionary.config.same_width:
        return False
    first, second = (residuals.rows[reader, group.index] for reader in group.effects.readers)
    return points_apart(dictionary, (first, second), chosen, half, group.latents.tolist())


def _changes_sides(group: Group, halves: tuple[IntArray, IntArray]) -> bool:
    """Whether the side that falls in the base fires where the side that rises in the target does, and neither model has
    both at once.

    It must hold in both halves of the prompt families, so that a few rows do not decide.
    """
    shares = [sum(member.weight for member in group.members if member.sign == sign) for sign in (-1, 1)]
    if min(shares) < METHOD.redirected_share:
        return False
    falls, rises = ({side: group.activity(side, sign) for side in SIDES} for sign in (-1, 1))
    for half in halves:
        if min((falls["base"][half] > 0).sum(), (rises["target"][half] > 0).sum()) < METHOD.alive_tokens:
            return False
        follows = _correlation(falls["base"][half], rises["target"][half])
        apart = max(_correlation(falls[reader][half], rises[reader][half]) for reader in SIDES)
        if follows < METHOD.redirected_follows or apart >= METHOD.redirected_apart:
            return False
    return True


def _correlation(left: FloatArray, right: FloatArray) -> float:
    """Pearson's r; 0 if one side is constant."""
    first, second = left - left.mean(), right - right.mean()
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norms if norms > 1e-12 else 0.0


def points_apart(
    dictionary: Crosscoder,
    rows: tuple[Vectors, Vectors],
    chosen: IntArray,
    half: IntArray,
    latents: Sequence[int],
) -> bool:
    """Whether some latents' contributions to the two models have similar lengths but different directions.

    Rows (N, d) are in canonical order; the chosen ones (n,), ascending, are each in half 0 or 1 of the clusters. The
    angle between the contributions must exceed, by a factor, the angle between two estimates of the same contribution,
    one from each half.
    """
    named = torch.tensor(list(latents))
    total = contribution(dictionary, rows, chosen, named)
    first, second = (total[dictionary.part(side)] * dictionary.config.input_scales[side] for side in ORDER)
    lengths = sorted((float(first.norm()), float(second.norm())))
    angle = _angle(first, second)
    if lengths[1] > METHOD.redirected_length * lengths[0] or np.cos(angle) >= METHOD.redirected_cosine:
        return False
    by_half = contribution_by_half(dictionary, rows, chosen, half, named)
    return angle > METHOD.redirected_angles * max(
        _angle(*by_half[:, dictionary.part(side)]) for side in ORDER
    )


def contribution(
    dictionary: Crosscoder, rows: tuple[Vectors, Vectors], chosen: IntArray, latents: Tensor
) -> Tensor:
    """(d_first + d_second,) sum over rows of what the latents' decoders add, in units of the input scales."""
    codes = torch.zeros(len(latents))
    for x in _blocks(dictionary, rows, chosen):
        codes += dictionary.encode(x, latents).sum(dim=0)
    return codes @ dictionary.w_both[latents]


def contribution_by_half(
    dictionary: Crosscoder,
    rows: tuple[Vectors, Vectors],
    chosen: IntArray,
    half: IntArray,
    latents: Tensor,
) -> Tensor:
    """(2, d_first + d_second) the latents' contribution in each half, with the error that belongs to it.

    The reconstruction error of the rows where one of the latents fires is added, minus its mean over the other rows: an
    error that the dictionary makes everywhere belongs to no latent.
    """
    codes = torch.zeros(2, len(latents))
    errors, counts = torch.zeros(4, dictionary.w_both.shape[1]), torch.zeros(4)
    start = 0
    for x in _blocks(dictionary, rows, chosen):
        where = torch.from_numpy(half[start : start + len(x)])
        code = dictionary.encode(x)
        error = x - (code @ dictionary.w_both + dictionary.b_dec)
        fires = (code[:, latents] > 0).any(dim=1)
        halves = torch.stack([where == number for number in (0, 1)])
        codes += halves.float() @ code[:, latents]
        # (4, block): fires in half 0, in half 1; silent in half 0, in half 1.
        kinds = torch.cat([halves & fires, halves & ~fires]).float()
        errors += kinds @ error
        counts += kinds.sum(dim=1)
        start += len(x)
    usual = errors[2:] / counts[2:, None].clamp_min(1)
    return codes @ dictionary.w_both[latents] + errors[:2] - counts[:2, None] * usual


def _blocks(dictionary: Crosscoder, rows: tuple[Vectors, Vectors], chosen: IntArray) -> Iterator[Tensor]:
    """The dictionary's inputs at the chosen rows, some at a time."""
    for some in torch.split(torch.from_numpy(chosen), BLOCK):
        yield dictionary.inputs((rows[0][some], rows[1][some]))


def _angle(first: Tensor, second: Tensor) -> float:
    """The angle in radians; a right angle if one side is zero."""
    return float(torch.nn.functional.cosine_similarity(first, second, dim=0).clamp(-1, 1).arccos())
