"""Which words a group pushes up or down.

Until the exact patch of METHOD section 7 exists: the stored KL contributions at positions where the group's difference
is active minus those at inactive positions of the same class and author (METHOD section 6). The model's own KL share
would credit almost every feature with the same words; the subtraction leaves what belongs to the feature. A word counts
by its net contribution, what pushes it up minus what pushes it down, and is listed only if prompt after prompt pushes
it. If a group of answers pushes a word, the answers must show it too: more prompts' answers gain the word than lose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
"""Most words that are listed on either side."""


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
    counted: BoolArray,
    limit: int = LISTED,
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Promoted and suppressed words of a group and its companions; see `listed`, `word_pushes` and `shown_in_answers`.

    Each group counts by how much it changes in a whole answer: its attributed effect, which is a mean over positions,
    times the number of positions of its class. A word that one pushes up and another down counts by the difference.
    """
    parts = (group, *group.companions)
    changed = np.asarray(
        [part.attributed * _positions(extraction, part.position_class, counted) for part in parts]
    )
    if not changed.any():
        return [], []
    pushes = [
        word_pushes(
            extraction, words, change_in_answers(part, layers, extraction), part.position_class, counted
        )
        for part in parts
    ]
    joined = changed / changed.sum() @ np.asarray(pushes)
    if group.position_class != PROMPT:
        joined = shown_in_answers(extraction, words, joined, counted)
    return listed(words, joined, limit)


def change_in_answers(group: Group, layers: Sequence[LayerEffects], extraction: Extraction) -> FloatArray:
    """(N,) `change_at_tokens`; for a group of the start, the rows of the answers carry its change too.

    The rest of an answer follows from its opening, although the group no longer fires there. The rows of the answers to
    one prompt share the change at its start, so an answer weighs as much as its start.
    """
    change, rows = change_at_tokens(group, layers), extraction.rows
    if group.position_class != START:
        return change
    start, answer = (rows.own & (rows.position_class == c) for c in (START, RESPONSE))
    count = extraction.units.n
    opened = np.bincount(rows.unit[start], weights=change[start], minlength=count)
    share = opened / np.maximum(1, np.bincount(rows.unit[answer], minlength=count))
    return np.where(answer, share[rows.unit], change)


def shown_in_answers(
    extraction: Extraction, words: Words, pushes: FloatArray, counted: BoolArray
) -> FloatArray:
    """(n_words,) `pushes`, 0 for words that the models' own answers do not gain or lose accordingly.

    Gain: among the prompts of the rows `counted` (N,), the word is in the target's answer alone more often than in the
    base's alone; lose: less often. Without this, words that the target only reads in the base's text would be listed.
    """
    rows, count = extraction.rows, len(words.spellings)
    holding = []
    for author in (BASE, TARGET):
        answer = counted & (rows.position_class == RESPONSE) & (rows.author == author)
        pairs = np.unique(rows.unit[answer] * count + words.of_row[answer])
        holding.append(np.bincount(pairs % count, minlength=count))
    gained = holding[TARGET] - holding[BASE]  # prompts where both answers hold a word cancel
    return np.where(np.sign(pushes) == np.sign(gained), pushes, 0.0)


def _positions(extraction: Extraction, position_class: int, counted: BoolArray) -> float:
    """Mean number of `counted` rows of a class in a text that has any."""
    rows = extraction.rows
    chosen = counted & rows.own & (rows.position_class == position_class)
    texts = np.unique(np.stack([rows.unit[chosen], rows.author[chosen]]), axis=1).shape[1]
    return float(chosen.sum() / max(1, texts))


def listed(
    words: Words, pushes: FloatArray, limit: int = LISTED
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """The words that are pushed up most and those that are pushed down most, strongest first, with their shares."""

    def side(values: FloatArray) -> list[tuple[str, float]]:
        strongest = np.argsort(-values, kind="stable")[:limit]
        return [(words.spellings[i], float(values[i])) for i in strongest if values[i] > 0]

    return side(pushes), side(-pushes)


def word_pushes(
    extraction: Extraction, words: Words, weights: FloatArray, position_class: int, counted: BoolArray
) -> FloatArray:
    """(n_words,) each word's share of all that a change pushes up (> 0) or down (< 0); 0 for uncertain words.

    `weights` (N,): the change at each row; `counted` (N,): the rows that count. Per position class c_v = weighted mean
    of v's net KL contribution where the change is active minus its mean where it is not. The classes are averaged by
    their part of the change, each as a share of all that it pushes, since the start of an answer moves more nats than
    many later tokens do and would hide them. A group of questions is measured at questions, others in answers. The
    group's own class, where its change was tested, comes first: a word that it certainly pushes, with
    `METHOD.word_share` of all that it pushes that way, counts by that class alone.
    """
    rows = extraction.rows
    classes = (PROMPT,) if position_class == PROMPT else (position_class, START + RESPONSE - position_class)
    families, owner = np.unique(extraction.units.clusters[rows.unit[counted]], return_inverse=True)
    family = np.zeros(rows.n, dtype=np.int64)
    family[counted] = owner
    shape = (len(families), len(words.spellings))
    if len(families) < 2:
        return np.zeros(shape[1])
    net, raised, lowered = np.zeros(shape), np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    undecided = np.ones(shape[1], dtype=bool)
    for each_class in classes:
        chosen = counted & rows.own & (rows.position_class == each_class)
        active, contrast = _contributions(rows, words, weights, chosen, family, len(families))
        pushed = float(np.abs(contrast.sum(axis=0)).sum())
        if pushed > 0:
            raised |= undecided & (active > 0)
            lowered |= undecided & (active < 0)
            contrast *= float(np.maximum(weights[chosen], 0).sum()) / pushed
            net += contrast * undecided
        if each_class == position_class:
            undecided = np.abs(_sure_shares(net, raised, lowered)) < METHOD.word_share
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


def with_naming_directions(
    groups: Sequence[Group], layers: Sequence[LayerEffects], extraction: Extraction, words: Words
) -> list[Group]:
    """The groups with the direction that each is described by; see `naming_direction`."""
    return [
        replace(group, direction=naming_direction(group, extraction, words, change_at_tokens(group, layers)))
        for group in groups
    ]


def naming_direction(group: Group, extraction: Extraction, words: Words, weights: FloatArray) -> int:
    """Whether a group is named by what the target gains (+1) or loses (-1); swapping the pair flips it.

    It is the side whose strongest word has the larger contribution on D: a person can recognize a behavior that uses
    few words, but not the many words that it replaced. Groups of questions keep the heavier side, and groups whose
    features all move one way have only one side.
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
    """(n_owners, n_words) each: weighted net contributions at active rows, and those minus the inactive level.

    `owner` (N,): the owner of each row. Inactive level: the mean contribution at the inactive rows of the same author,
    over all owners, times the total weight of the owner's active rows of that author.
    """
    n_words = len(words.spellings)
    active, inactive = chosen & (weights > 0), chosen & (weights <= 0)
    found = _net(rows, words, weights, active, owner, n_owners, n_words)
    left = found.copy()
    together = np.zeros(rows.n, dtype=np.int64)
    for author in np.unique(rows.author[active]):
        silent, firing = inactive & (rows.author == author), active & (rows.author == author)
        if silent.any():
            mean = _net(rows, words, np.full(rows.n, 1 / silent.sum()), silent, together, 1, n_words)
            left -= np.bincount(owner[firing], weights=weights[firing], minlength=n_owners)[:, None] * mean
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
    """(n_owners, n_words) weighted sums of what pushes a word up minus what pushes it down."""
    at = np.flatnonzero(chosen)

    def summed(ids: IntArray, values: npt.NDArray[np.float32]) -> FloatArray:
        cell = owner[at, None] * n_words + ids[at]
        weighted = values[at] * weights[at, None]
        sums = np.bincount(cell.ravel(), weights=weighted.ravel(), minlength=n_owners * n_words)
        return np.asarray(sums.reshape(n_owners, n_words), dtype=np.float64)

    net = summed(words.promoted, rows.promoted_kl)
    net -= summed(words.suppressed, rows.suppressed_kl)
    net[:, 0] = 0  # the empty word
    return net
