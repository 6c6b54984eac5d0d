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
from analyze.rows import BoolArray, Extraction, FloatArray, IntArray
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
    extraction: Extraction, weights: FloatArray, chosen: BoolArray
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Promoted and suppressed tokens with their contributions (nats), strongest first.

    `weights` (N,): the group's change at each row, `chosen` (N,): the rows that may speak (half C, the class).
    c_v = weighted mean of v's KL contribution where the change is active minus its mean where it is not.
    """
    active = chosen & (weights > 0)
    inactive = chosen & (weights <= 0)
    rows = extraction.rows
    found = []
    for ids, values in ((rows.promoted_ids, rows.promoted_kl), (rows.suppressed_ids, rows.suppressed_kl)):
        found.append(
            _listed(_contrast(ids, values, weights, active, inactive, rows.author), extraction.token_text)
        )
    return found[0], found[1]


def _contrast(
    ids: IntArray,
    values: npt.NDArray[np.float32],
    weights: FloatArray,
    active: BoolArray,
    inactive: BoolArray,
    author: IntArray,
) -> dict[int, float]:
    """Token id -> weighted mean contribution at active rows minus the author-matched mean at inactive rows."""
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


def _listed(contributions: dict[int, float], text: dict[int, str]) -> list[tuple[str, float]]:
    """Pieces merged by case and leading space (shown in their strongest form), byte pieces dropped, top ten."""
    merged: dict[str, float] = {}
    shown: dict[str, tuple[float, str]] = {}
    for token, value in contributions.items():
        piece = text.get(token, "")
        key = piece.strip().casefold()
        if not key or "\ufffd" in piece:
            continue
        merged[key] = merged.get(key, 0.0) + value
        shown[key] = max(shown.get(key, (float("-inf"), "")), (value, piece.strip()))
    positive = sum(value for value in merged.values() if value > 0)
    ranked = sorted(((v, k) for k, v in merged.items() if v > 0), key=lambda item: (-item[0], item[1]))
    return [(shown[k][1], v) for v, k in ranked[:LISTED] if v >= METHOD.promoted_share * positive]
