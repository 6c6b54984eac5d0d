"""Which next tokens a group pushes up or down, and which tokens set it off.

Until the probe stage exists: the stored KL contributions at positions where the group's difference is active minus
those at inactive positions of the same class and author (METHOD section 6). The model's own KL share would credit
almost every feature with the same words; the subtraction leaves what belongs to the feature.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from analyze.effects import LayerEffects
from analyze.groups import Group, token_activity
from analyze.rows import PROMPT, RESPONSE, START, BoolArray, Extraction, FloatArray, IntArray
from analyze.words import Words, is_content
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


def spoken_words(
    group: Group, layers: Sequence[LayerEffects], extraction: Extraction, words: Words, half: BoolArray
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Promoted and suppressed words of a group and its companions, ten at most, with their shares in their own group.

    Each group's shares sum to 1, and a word counts by its largest: one place of an answer must not hide the others.
    Content words stand before function words and marks, which say little of what a model is about to do.
    """
    lists = [
        token_effects(extraction, words, change_at_tokens(part, layers), part.position_class, half)
        for part in (group, *group.companions)
    ]
    promoted = _largest_shares(gained for gained, _ in lists)
    suppressed = _largest_shares(lost for _, lost in lists)
    # A word that is pushed up at one place and down at another is told where its share is larger (equal: both).
    return (
        _strongest({word: share for word, share in promoted.items() if share >= suppressed.get(word, 0.0)}),
        _strongest({word: share for word, share in suppressed.items() if share >= promoted.get(word, 0.0)}),
    )


def _largest_shares(lists: Iterable[list[tuple[str, float]]]) -> dict[str, float]:
    """Word -> its largest share in any of the groups, in order of first appearance."""
    largest: dict[str, float] = {}
    for word, share in itertools.chain.from_iterable(lists):
        largest[word] = max(share, largest.get(word, 0.0))
    return largest


def _strongest(shares: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda item: (not is_content(item[0]), -item[1]))[:LISTED]


def token_effects(
    extraction: Extraction, words: Words, weights: FloatArray, position_class: int, half: BoolArray
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Promoted and suppressed words, strongest first, with their shares of what the group pushes (they sum to 1).

    `weights` (N,): the group's change at each row; `half` (N,): the rows that may speak. Per position class
    c_v = weighted mean of v's KL contribution where the change is active minus its mean where it is not; the shares
    of the classes are averaged by how much of the change lies in them, since one start of an answer moves more nats
    than many later tokens do and would hide them. A group of questions speaks at questions, others in answers.
    """
    rows = extraction.rows
    spoken = (PROMPT,) if position_class == PROMPT else (START, RESPONSE)
    found = []
    for ids, values in ((words.promoted, rows.promoted_kl), (words.suppressed, rows.suppressed_kl)):
        shares = np.zeros(len(words.shown))
        for place in spoken:
            chosen = half & rows.own & (rows.position_class == place)
            positive = np.maximum(_contrast(ids, values, weights, chosen, rows.author, len(shares)), 0)
            if positive.any():
                shares += np.maximum(weights[chosen], 0).sum() * positive / positive.sum()
        if shares.any():
            shares /= shares.sum()
        strongest = np.argsort(-shares, kind="stable")[: round(1 / METHOD.promoted_share)]
        found.append(
            [(words.shown[i], float(shares[i])) for i in strongest if shares[i] >= METHOD.promoted_share]
        )
    return found[0], found[1]


def spoken_direction(group: Group, extraction: Extraction, words: Words, weights: FloatArray) -> int:
    """Whether a group is told by what the target gains (+1) or loses (-1); mirrored when the pair is swapped.

    The side whose strongest word carries the larger contribution on D: a behaviour that uses few words is one a
    person can recognise, the many words that gave way to it are not. Groups of
    questions keep the heavier side, groups whose features all move one way have one side only.
    """
    rows = extraction.rows
    if group.position_class == PROMPT or len({member.sign for member in group.members}) == 1:
        return group.direction
    chosen = rows.discovery & rows.own & (rows.position_class == group.position_class)
    gained, lost = (
        float(_contrast(ids, values, weights, chosen, rows.author, len(words.shown)).max())
        for ids, values in ((words.promoted, rows.promoted_kl), (words.suppressed, rows.suppressed_kl))
    )
    if gained == lost:
        return group.direction
    return 1 if gained > lost else -1


def _contrast(
    ids: IntArray,
    values: npt.NDArray[np.float32],
    weights: FloatArray,
    chosen: BoolArray,
    author: IntArray,
    n_words: int,
) -> FloatArray:
    """(n_words,) weighted mean contribution at active rows minus the author-matched mean at inactive rows."""
    active, inactive = chosen & (weights > 0), chosen & (weights <= 0)
    if not active.any():
        return np.zeros(n_words)
    share = np.where(active, weights, 0.0)
    share = share / share.sum()
    baseline = np.zeros(len(share))
    for who in np.unique(author[active]):
        silent = inactive & (author == who)
        if silent.any():
            baseline[silent] = share[author == who].sum() / silent.sum()
    net = share - baseline
    used = np.flatnonzero(net)
    weighted = (values[used] * net[used, None]).astype(np.float64)
    sums = np.bincount(ids[used].ravel(), weights=weighted.ravel(), minlength=n_words)
    sums[0] = 0  # the empty word
    return np.asarray(sums)
