"""Which next tokens a group pushes up or down, and which tokens set it off.

Until the probe stage exists: the stored KL contributions at positions where the group's difference is active minus
those at inactive positions of the same class and author (METHOD section 6). The model's own KL share would credit
almost every feature with the same words; the subtraction leaves what belongs to the feature.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analyze.effects import LayerEffects
from analyze.groups import Group, token_activity
from analyze.rows import PROMPT, RESPONSE, START, BoolArray, Extraction, FloatArray, IntArray
from fi_store.config import METHOD

LISTED = 10
"""Tokens that are listed at most."""


def change_at_tokens(group: Group, layers: Sequence[LayerEffects]) -> FloatArray:
    """(N,) how strongly the group's difference acts at each row: sum_j w_j sign_j (f_j^target - f_j^base) / S_j.

    Positive where the members move the way they moved on average; unchanged when the pair is swapped.
    """
    total = np.zeros(layers[0].codes["base"].shape[0])
    for side in (1, -1):
        if any(member.sign == side for member in group.members):
            total += side * token_activity(group, layers, "target", side)
            total -= side * token_activity(group, layers, "base", side)
    return total


def token_effects(
    extraction: Extraction, weights: FloatArray, position_class: int, half: BoolArray
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Promoted and suppressed tokens, strongest first, with their shares of what the group pushes (they sum to 1).

    `weights` (N,): the group's change at each row; `half` (N,): the rows that may speak. Per position class
    c_v = weighted mean of v's KL contribution where the change is active minus its mean where it is not; the shares
    of the classes are averaged by how much of the change lies in them, since one start of an answer moves more nats
    than many later tokens do and would hide them. A group of questions speaks at questions, others in answers.
    """
    rows = extraction.rows
    spoken = (PROMPT,) if position_class == PROMPT else (START, RESPONSE)
    found = []
    for ids, values in ((rows.promoted_ids, rows.promoted_kl), (rows.suppressed_ids, rows.suppressed_kl)):
        shares: dict[str, float] = {}
        shown: dict[str, tuple[float, str]] = {}
        for place in spoken:
            chosen = half & rows.own & (rows.position_class == place)
            contributions = _contrast(ids, values, weights, chosen, rows.author)
            merged = _merged(contributions, extraction.token_text, shown)
            positive = sum(value for value in merged.values() if value > 0)
            change = float(np.maximum(weights[chosen], 0).sum())
            for key, value in merged.items():
                if value > 0:
                    shares[key] = shares.get(key, 0.0) + change * value / positive
        total = sum(shares.values())
        ranked = sorted((-share / total, key) for key, share in shares.items())[:LISTED]
        found.append([(shown[key][1], -share) for share, key in ranked if -share >= METHOD.promoted_share])
    return found[0], found[1]


def spoken_direction(group: Group, extraction: Extraction, weights: FloatArray) -> int:
    """Whether a group is told by what the target gains (+1) or loses (-1); mirrored when the pair is swapped.

    The side whose strongest word carries the larger contribution on D: a behaviour that uses few words is one a
    person can recognise, the many words that gave way to it are not. Groups of questions keep the heavier side.
    """
    rows = extraction.rows
    if group.position_class == PROMPT:
        return group.direction
    chosen = rows.discovery & rows.own & (rows.position_class == group.position_class)
    strongest = []
    for ids, values in ((rows.promoted_ids, rows.promoted_kl), (rows.suppressed_ids, rows.suppressed_kl)):
        contributions = _contrast(ids, values, weights, chosen, rows.author)
        strongest.append(max(_merged(contributions, extraction.token_text, {}).values(), default=0.0))
    if strongest[0] == strongest[1]:
        return group.direction
    return 1 if strongest[0] > strongest[1] else -1


def _contrast(
    ids: IntArray, values: npt.NDArray[np.float32], weights: FloatArray, chosen: BoolArray, author: IntArray
) -> dict[int, float]:
    """Token id -> weighted mean contribution at active rows minus the author-matched mean at inactive rows."""
    active, inactive = chosen & (weights > 0), chosen & (weights <= 0)
    if not active.any():
        return {}
    share = np.where(active, weights, 0.0)
    share = share / share.sum()
    baseline = np.zeros(len(share))
    for who in np.unique(author[active]):
        silent = inactive & (author == who)
        if silent.any():
            baseline[silent] = share[author == who].sum() / silent.sum()
    net = share - baseline
    used = np.flatnonzero(net)
    tokens, index = np.unique(ids[used], return_inverse=True)
    sums = np.zeros(len(tokens))
    np.add.at(sums, index.reshape(ids[used].shape), values[used] * net[used, None])
    return {int(t): float(s) for t, s in zip(tokens, sums, strict=True) if t >= 0}


def _merged(
    contributions: dict[int, float], text: dict[int, str], shown: dict[str, tuple[float, str]]
) -> dict[str, float]:
    """Contributions merged by case and leading space, byte pieces dropped; `shown` keeps each word's strongest form."""
    merged: dict[str, float] = {}
    for token, value in contributions.items():
        piece = text.get(token, "")
        key = piece.strip().casefold()
        if not key or "\ufffd" in piece:
            continue
        merged[key] = merged.get(key, 0.0) + value
        shown[key] = max(shown.get(key, (float("-inf"), "")), (value, piece.strip()))
    return merged
