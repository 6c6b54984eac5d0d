"""Which next tokens a group pushes up or down, and which tokens set it off.

Until the exact patch of METHOD section 7 exists: the stored KL contributions at positions where the group's difference
is active minus those at inactive positions of the same class and author (METHOD section 6). The model's own KL share
would credit almost every feature with the same words; the subtraction leaves what belongs to the feature. A word counts
by its net contribution, what pushes it up less what pushes it down, and has to be pushed in prompt after prompt to be
listed. What a group in answers pushes has to be seen in them too: more prompts' answers gain the word than lose it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from analyze.extraction import (
    BASE,
    PROMPT,
    RESPONSE,
    START,
    TARGET,
    BoolArray,
    Extraction,
    FloatArray,
    IntArray,
    Rows,
)
from analyze.features import LayerEffects
from analyze.groups import Group, token_activity
from analyze.names.words import Words
from fi_store.method import METHOD

LISTED = 10
"""Words that are listed at most on either side."""


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


def pushed_words(
    group: Group,
    layers: Sequence[LayerEffects],
    extraction: Extraction,
    words: Words,
    asked: BoolArray,
    limit: int = LISTED,
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Promoted and suppressed words of a group and its companions; see `listed`, `word_pushes` and `as_said`.

    Each counts by how much it changes in a whole answer: its attributed effect, which is a mean over positions, times
    the positions of its class. What is pushed up at one place and down at another is told by what is left.
    """
    parts = (group, *group.companions)
    changed = np.asarray(
        [part.attributed * _positions(extraction, part.position_class, asked) for part in parts]
    )
    if not changed.any():
        return [], []
    pushes = [
        word_pushes(
            extraction, words, change_in_answers(part, layers, extraction), part.position_class, asked
        )
        for part in parts
    ]
    joined = changed / changed.sum() @ np.asarray(pushes)
    if group.position_class != PROMPT:
        joined = as_said(extraction, words, joined, asked)
    return listed(words, joined, limit)


def change_in_answers(group: Group, layers: Sequence[LayerEffects], extraction: Extraction) -> FloatArray:
    """(N,) `change_at_tokens`; what a group changes at the start of an answer, the answer's rows carry on.

    What a model goes on to say follows from how it opens, where the group itself is silent again. The rows of the
    answers to one prompt share what its start changed, so that an answer weighs as much as its start.
    """
    change, rows = change_at_tokens(group, layers), extraction.rows
    if group.position_class != START:
        return change
    start, answer = (rows.own & (rows.position_class == place) for place in (START, RESPONSE))
    count = extraction.units.n
    opened = np.bincount(rows.unit[start], weights=change[start], minlength=count)
    share = opened / np.maximum(1, np.bincount(rows.unit[answer], minlength=count))
    return np.where(answer, share[rows.unit], change)


def as_said(extraction: Extraction, words: Words, pushes: FloatArray, asked: BoolArray) -> FloatArray:
    """(n_words,) `pushes`, 0 where the models' own answers do not move the same way.

    Up: among the prompts of `asked` (N,) there are more whose target's answer alone holds the word than whose base's
    answer alone does; down: fewer. A push alone also shows in words that the target meets in the base's text.
    """
    rows, count = extraction.rows, len(words.shown)
    holding = []
    for author in (BASE, TARGET):
        said = asked & (rows.position_class == RESPONSE) & (rows.author == author)
        pairs = np.unique(rows.unit[said] * count + words.own[said])
        holding.append(np.bincount(pairs % count, minlength=count))
    gained = holding[TARGET] - holding[BASE]  # prompts where both answers hold a word cancel
    return np.where(np.sign(pushes) == np.sign(gained), pushes, 0.0)


def _positions(extraction: Extraction, position_class: int, asked: BoolArray) -> float:
    """Mean number of rows of a class in a text of the rows `asked` that has any."""
    rows = extraction.rows
    chosen = asked & rows.own & (rows.position_class == position_class)
    texts = np.unique(np.stack([rows.unit[chosen], rows.author[chosen]]), axis=1).shape[1]
    return float(chosen.sum() / max(1, texts))


def listed(
    words: Words, pushes: FloatArray, limit: int = LISTED
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """The words that are pushed up most and those that are pushed down most, strongest first, with their shares."""

    def side(values: FloatArray) -> list[tuple[str, float]]:
        strongest = np.argsort(-values, kind="stable")[:limit]
        return [(words.shown[i], float(values[i])) for i in strongest if values[i] > 0]

    return side(pushes), side(-pushes)


def word_pushes(
    extraction: Extraction, words: Words, weights: FloatArray, position_class: int, asked: BoolArray
) -> FloatArray:
    """(n_words,) each word's share of all that a change pushes up (> 0) or down (< 0); 0 where that is not sure.

    `weights` (N,): the change at each row; `asked` (N,): the rows that may speak. Per position class c_v = weighted
    mean of v's net KL contribution where the change is active minus its mean where it is not; the classes are
    averaged by how much of the change lies in them, each in units of all that it pushes, since one start of an answer
    moves more nats than many later tokens do and would hide them. A group of questions speaks at questions, others in
    answers. The group's own class, where its change was tested, has the first say: a word that it pushes for sure,
    with `METHOD.word_share` of all that it pushes that way, counts by that class alone.
    """
    rows = extraction.rows
    spoken = (PROMPT,) if position_class == PROMPT else (position_class, START + RESPONSE - position_class)
    families, owner = np.unique(extraction.units.clusters[rows.unit[asked]], return_inverse=True)
    family = np.zeros(rows.n, dtype=np.int64)
    family[asked] = owner
    shape = (len(families), len(words.shown))
    if len(families) < 2:
        return np.zeros(shape[1])
    net, raised, lowered = np.zeros(shape), np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    heard = np.ones(shape[1], dtype=bool)
    for place in spoken:
        chosen = asked & rows.own & (rows.position_class == place)
        active, contrast = _contributions(rows, words, weights, chosen, family, len(families))
        pushed = float(np.abs(contrast.sum(axis=0)).sum())
        if pushed > 0:
            raised |= heard & (active > 0)
            lowered |= heard & (active < 0)
            contrast *= float(np.maximum(weights[chosen], 0).sum()) / pushed
            net += contrast * heard
        if place == position_class:
            heard = np.abs(_sure_shares(net, raised, lowered)) < METHOD.word_share
    return _sure_shares(net, raised, lowered)


def _sure_shares(net: FloatArray, raised: BoolArray, lowered: BoolArray) -> FloatArray:
    """(n_words,) shares of all that is pushed up (> 0) or down (< 0) in sum over families (n_families, n_words).

    0 for a word unless the one-sided 95% limit of its mean over families excludes 0 (Student's t) and active rows
    push it that way (`raised`, `lowered`) in at least `METHOD.word_prompts` of them.
    """
    n, total = len(net), net.sum(axis=0)
    limit = stats.t.ppf(1 - METHOD.alpha, n - 1) * net.std(axis=0, ddof=1) * np.sqrt(n)
    often = np.where(total > 0, raised.sum(axis=0), lowered.sum(axis=0)) >= METHOD.word_prompts
    whole = np.where(total > 0, np.maximum(total, 0).sum(), np.maximum(-total, 0).sum())
    sure = often & (np.abs(total) > limit) & (whole > 0)
    return np.asarray(np.divide(total, whole, out=np.zeros(len(total)), where=sure))


def spoken_direction(group: Group, extraction: Extraction, words: Words, weights: FloatArray) -> int:
    """Whether a group is told by what the target gains (+1) or loses (-1); mirrored when the pair is swapped.

    The side whose strongest word carries the larger contribution on D: a behavior that uses few words is one a
    person can recognize, the many words that gave way to it are not. Groups of questions keep the heavier side,
    groups whose features all move one way have one side only.
    """
    rows = extraction.rows
    if group.position_class == PROMPT or len({member.sign for member in group.members}) == 1:
        return group.direction
    chosen = rows.discovery & rows.own & (rows.position_class == group.position_class)
    together = np.zeros(rows.n, dtype=np.int64)
    net = _contributions(rows, words, weights, chosen, together, 1)[1][0]
    gained, lost = float(net.max()), float(-net.min())
    if gained == lost:
        return group.direction
    return 1 if gained > lost else -1


def _contributions(
    rows: Rows, words: Words, weights: FloatArray, chosen: BoolArray, owner: IntArray, n_owners: int
) -> tuple[FloatArray, FloatArray]:
    """(n_owners, n_words) each: weighted net contributions at active rows, and those less what silence would give.

    `owner` (N,): whose each row is. Silence: the mean contribution at the inactive rows of the same author, all
    owners together, times the weight that the owner's active rows of that author have.
    """
    n_words = len(words.shown)
    active, inactive = chosen & (weights > 0), chosen & (weights <= 0)
    found = _net(rows, words, weights, active, owner, n_owners, n_words)
    left = found.copy()
    together = np.zeros(rows.n, dtype=np.int64)
    for who in np.unique(rows.author[active]):
        silent, own = inactive & (rows.author == who), active & (rows.author == who)
        if silent.any():
            mean = _net(rows, words, np.full(rows.n, 1 / silent.sum()), silent, together, 1, n_words)
            left -= np.bincount(owner[own], weights=weights[own], minlength=n_owners)[:, None] * mean
    return found, left


def _net(
    rows: Rows,
    words: Words,
    weights: FloatArray,
    chosen: BoolArray,
    owner: IntArray,
    n_owners: int,
    n_words: int,
) -> FloatArray:
    """(n_owners, n_words) weighted sums of what pushes a word up less what pushes it down."""
    at = np.flatnonzero(chosen)

    def summed(ids: IntArray, values: npt.NDArray[np.float32]) -> FloatArray:
        place = owner[at, None] * n_words + ids[at]
        weighted = values[at] * weights[at, None]
        sums = np.bincount(place.ravel(), weights=weighted.ravel(), minlength=n_owners * n_words)
        return np.asarray(sums.reshape(n_owners, n_words), dtype=np.float64)

    net = summed(words.promoted, rows.promoted_kl)
    net -= summed(words.suppressed, rows.suppressed_kl)
    net[:, 0] = 0  # the empty word
    return net
