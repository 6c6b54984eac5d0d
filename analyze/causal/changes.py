"""Groups become changes by what they do: patched one by one on a part of D (METHOD section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from analyze.behaviors import AnswerPredicate, Candidate, OwnAnswers
from analyze.causal.gap import TokenLogprobs, token_effects
from analyze.causal.requests import Reading
from analyze.extraction import BoolArray, Extraction, FloatArray, IntArray
from analyze.groups import Group, cluster, cosines
from analyze.stats import cluster_means
from fi_store.method import METHOD
from fi_store.vocabulary import SIDES, Side

Effects = dict[Side, TokenLogprobs]
"""side that was patched -> nats closed at each token of each answer."""


@dataclass(frozen=True)
class Change:
    """Groups that do the same to the answers, and the behavior of D that they carry, if there is one."""

    groups: tuple[Group, ...]  # the largest first, joined ones last
    behavior: int | None  # index among the candidates of D

    @property
    def leader(self) -> Group:
        return self.groups[0]

    @cached_property
    def by_layer(self) -> dict[int, tuple[Group, ...]]:
        """Index of the layer -> its groups, ascending."""
        indices = sorted({group.index for group in self.groups})
        return {index: tuple(group for group in self.groups if group.index == index) for index in indices}

    @cached_property
    def layer_shares(self) -> dict[int, float]:
        """Index of the layer -> the share of a gap on D that the change's groups hold there."""
        return {index: sum(group.share for group in groups) for index, groups in self.by_layer.items()}

    @property
    def tested_index(self) -> int:
        """The earliest layer whose share reaches a part of the largest: late layers close much of everything."""
        largest = max(self.layer_shares.values())
        return next(
            index for index, share in self.layer_shares.items() if share >= METHOD.told_layer_share * largest
        )

    @property
    def strongest_index(self) -> int:
        """The layer at which it holds most: there its features are switched off in new answers."""
        return max(self.layer_shares, key=lambda index: self.layer_shares[index])

    @property
    def tested(self) -> tuple[Group, ...]:
        """The groups of the tested layer."""
        return self.by_layer[self.tested_index]

    @property
    def share(self) -> float:
        """The largest share at one layer: the order of changes."""
        return max(self.layer_shares.values())


def prompts_to_patch(answers: OwnAnswers, behaviors: Sequence[Candidate], units: IntArray) -> IntArray:
    """Units of D to patch groups on: in turn one that each behavior tells apart, then others, evenly spread.

    `answers`: those of all units. `units`: those of D that have a gap, ascending.
    """
    apart = []
    for candidate in behaviors:
        base, target = (answers.holds(candidate.predicate, side)[units] for side in SIDES)
        apart.append([int(unit) for unit in units[base != target]])
    chosen: list[int] = []
    limit = min(METHOD.patched_prompts, len(units))
    for turn in range(max(map(len, apart), default=0)):
        for found in apart:
            if turn < len(found) and found[turn] not in chosen and len(chosen) < limit * 3 // 4:
                chosen.append(found[turn])
    rest = [int(unit) for unit in units if unit not in chosen]
    spread = np.unique(np.linspace(0, len(rest) - 1, min(len(rest), limit - len(chosen))).astype(int))
    return np.asarray(sorted([*chosen, *(rest[at] for at in spread)]), dtype=np.int64)


def effects_of(clean: dict[Side, Reading], patched: dict[Side, Reading]) -> Effects:
    """The token effects of one patch on each side that was read."""
    return {
        side: token_effects(clean[side].logprobs, patched[side].logprobs, side)
        for side in SIDES
        if side in clean and side in patched
    }


def make_changes(
    groups: Sequence[Group],
    effects: Sequence[Effects],
    behaviors: Sequence[Candidate],
    answers: OwnAnswers,
    extraction: Extraction,
) -> list[Change]:
    """The changes that the groups make, the largest share of a gap first.

    A group belongs to the first behavior of D (the one that separates the answers best) on whose spans it surely does
    more than elsewhere, at a level that is divided by the number of behaviors. One without joins the behavior whose
    groups together have the most similar effects, if they are alike, otherwise groups without a behavior that are
    alike; the rest of a layer makes no change of its own. `answers`: those of all units.
    """
    level = METHOD.alpha / max(1, len(behaviors))
    of_behavior = [
        next(
            (
                number
                for number, each in enumerate(behaviors)
                if _carries(effect, each, answers, extraction, level)
            ),
            None,
        )
        for effect in effects
    ]
    columns = _columns(effects)
    carried = sorted({number for number in of_behavior if number is not None})
    if carried:
        owned = [[at for at, number in enumerate(of_behavior) if number == each] for each in carried]
        together = np.column_stack([columns[:, some].sum(axis=1) for some in owned])
        alike = cosines(np.column_stack([columns, together]))[: len(groups), len(groups) :]
        for at, number in enumerate(of_behavior):
            nearest = int(alike[at].argmax())
            if number is None and alike[at, nearest] >= METHOD.effect_cosine:
                of_behavior[at] = carried[nearest]
    changes = [
        Change(tuple(g for g, mine in zip(groups, of_behavior, strict=True) if mine == number), number)
        for number in carried
    ]
    free = [at for at, number in enumerate(of_behavior) if number is None and not groups[at].rest]
    if free:
        labels = cluster(cosines(columns[:, free]) / METHOD.effect_cosine)
        for label in np.unique(labels):
            members = [groups[at] for at, mine in zip(free, labels, strict=True) if mine == label]
            changes.append(Change(tuple(members), None))
    return sorted(changes, key=lambda change: (-change.share, change.leader.id))


def _columns(effects: Sequence[Effects]) -> FloatArray:
    """(tokens, g) nats closed by each group at every token of both answers, read on either side; zeros for a group
    that was not read everywhere."""
    columns = []
    for effect in effects:
        parts = [effect[side][key] for side in SIDES if side in effect for key in sorted(effect[side])]
        columns.append(np.concatenate(parts) if parts else np.zeros(0))
    longest = max(map(len, columns), default=0)
    whole = [column if len(column) == longest else np.zeros(longest) for column in columns]
    return np.column_stack(whole) if whole else np.zeros((0, 0))


def _carries(
    effect: Effects, behavior: Candidate, answers: OwnAnswers, extraction: Extraction, level: float
) -> bool:
    """Whether a patch surely closes more on a behavior's spans than elsewhere: one-sided at `level`, over clusters.

    Elsewhere: at the other tokens of the same answers; for a behavior of whole answers, in the answers without it.
    """
    whole = behavior.predicate.whole_answer
    if behavior.predicate.about_length:
        return False  # whatever makes an answer go on would seem to carry it
    inside: list[float] = []
    clusters: list[int] = []
    outside: list[float] = []
    for side, effects in effect.items():
        for (unit, author), nats in effects.items():
            mask = spans_in(behavior.predicate, answers, extraction, unit, author, side)
            if whole and len(nats) and not mask.any():
                outside.append(float(nats.mean()))
            elif mask.any() and (whole or (author == behavior.side and not mask.all())):
                inside.append(float(nats[mask].mean() - (0.0 if whole else nats[~mask].mean())))
                clusters.append(int(extraction.units.clusters[unit]))
    if len(set(clusters)) < 3 or (whole and not outside):
        return False
    elsewhere = float(np.mean(outside)) if whole else 0.0
    means = cluster_means(np.asarray(inside)[:, None] - elsewhere, np.asarray(clusters))[:, 0]
    half = stats.t.ppf(1 - level, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    return bool(means.mean() > half)


def spans_in(
    predicate: AnswerPredicate,
    answers: OwnAnswers,
    extraction: Extraction,
    unit: int,
    author: Side,
    reader: Side,
) -> BoolArray:
    """(k,) the tokens of an answer, as one model reads it, on which a predicate rests; all of an answer that has a
    predicate of whole answers. `answers`: of all units."""
    ends = extraction.answers[unit, author, reader].ends
    if not answers.holds(predicate, author)[unit]:
        return np.zeros(len(ends), dtype=bool)
    if predicate.whole_answer:
        return np.asarray(ends > answers.answers[author][unit].start)
    starts = np.concatenate([[0], ends])[: len(ends)]
    mask = np.zeros(len(ends), dtype=bool)
    for first, last in answers.spans(predicate, author, unit):
        mask |= (starts < last) & (ends > first)
    return mask
