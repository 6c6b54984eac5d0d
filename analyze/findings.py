"""Describes what the causal test found: words, change class, categories, when it fires, examples, rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analyze.behaviors import Behavior
from analyze.causal import Generated, TestedChange, Tests
from analyze.examples import Example, examples_of, triggers_of
from analyze.extraction import CLASSES, Extraction
from analyze.features import LayerEffects, categories_of, other_side
from analyze.groups import ChangeInside, Group, Residuals, classify
from analyze.names import (
    LISTED,
    Claim,
    Contexts,
    NameCandidate,
    Predicate,
    ProposedName,
    Words,
    name_group,
    number,
    percent,
    pushed_words,
)
from analyze.stats import category_contrasts, cluster_means, mean_interval
from fi_store.config import RunConfig
from fi_store.method import METHOD


@dataclass(frozen=True)
class CategoryContrast:
    """One category against the rest, on C: nats per token that the patch closes."""

    category: str
    contrast: float
    low: float
    high: float
    statistic: float | None
    p_adjusted: float | None  # over the categories; None with too few clusters
    n_units: int


@dataclass(frozen=True, eq=False)
class Finding:
    """A change that the causal test made a finding, with all that is reported about it."""

    tested: TestedChange
    repeats: tuple[TestedChange, ...]  # findings that add too little to be told apart
    behavior: Behavior | None  # confirmed on C
    inside: ChangeInside
    categories: list[CategoryContrast]  # strongest first
    promoted: list[str]  # words that the target gains by it, strongest first
    suppressed: list[str]
    pushed_on_d: list[str]  # by the side that is told, on D alone: for the name
    triggers: list[str]
    names: list[NameCandidate]  # the chosen one first
    examples: list[Example]
    generated: Generated | None
    by_behavior: bool  # it closes less of the gap than a finding must, but enough of its behavior
    proposed: tuple[ProposedName, ...] = ()  # by a language model, best first

    @property
    def words(self) -> list[str]:
        """The behavior's own words, then those that it pushes; ten at most."""
        words: dict[str, str] = {}
        behavior = self.behavior.candidate.words if self.behavior is not None else ()
        for word in (*behavior, *self.pushed_on_d):
            words.setdefault(word.casefold(), word)
        return list(words.values())[:LISTED]

    @property
    def change(self) -> str:
        """The change class: of the behavior by its rates on C, without one that of the features (METHOD section 6)."""
        return self.inside.name if self.behavior is None else behavior_change(self.behavior)

    @property
    def strongest_category(self) -> str | None:
        """The category that surely closes more than the rest, if there is one."""
        first = self.categories[0] if self.categories else None
        sure = first is not None and first.p_adjusted is not None and first.p_adjusted <= METHOD.alpha
        return first.category if first is not None and sure and first.contrast > 0 else None

    @property
    def claim(self) -> Claim:
        """What its name, sentence and description are made of."""
        change, best = self.tested.planned.change, self.tested.best
        predicate = self.names[0] if self.names and self.names[0].named else None
        closed = best.closed
        carried = change.behavior if self.behavior is not None else None
        part = next((part for part in best.behaviors if part.behavior == carried), None)
        return Claim(
            behavior=self.behavior,
            side=closed.side,
            layer=change.tested[0].effects.layer,
            classes=[CLASSES[each] for each in self.tested.planned.tested.classes],
            n_features=len(np.unique(np.concatenate([group.latents for group in change.tested]))),
            share=(closed.share, closed.low, closed.high),
            share_control=best.control.share if best.control is not None else None,
            share_behavior=(part.share, part.low, part.high) if part is not None else None,
            by_behavior=self.by_behavior,
            ceiling=best.ceiling.share if best.ceiling is not None else None,
            later=self.tested.later,
            p_adjusted=best.p_adjusted,
            promoted=self.promoted,
            suppressed=self.suppressed,
            name_words=self.pushed_on_d,
            when=predicate.predicate.phrase if predicate is not None else None,
            change=self.change,
            change_inside=self.inside.name,
            rates=self.generated,
            strongest_category=self.strongest_category,
            n_units=len(closed.nats),
            proposed=next((name for name in self.proposed if name.named), None),
        )

    @property
    def leader(self) -> Group:
        """The group under whose id it is stored."""
        return self.tested.planned.change.leader

    @property
    def groups(self) -> tuple[Group, ...]:
        """All its groups, and those of the findings that repeat it."""
        return tuple(
            group for tested in (self.tested, *self.repeats) for group in tested.planned.change.groups
        )


def behavior_change(behavior: Behavior) -> str:
    """The change class of a confirmed behavior: new or gone where the other model hardly has it, stronger or weaker
    otherwise. Hardly: the upper limit of its rate is at most 5%, or a tenth of this model's rate."""
    side = behavior.candidate.side
    own, other = behavior.rates[side], behavior.rates[other_side(side)]
    absent = other.high <= max(METHOD.absent_rate, METHOD.absent_part * own.share)
    names = ("added", "strengthened") if side == "target" else ("removed", "weakened")
    return names[0 if absent else 1]


@dataclass(frozen=True)
class Explained:
    """How much of the gap all findings close together, patched at one layer."""

    layer: int
    share: float
    low: float  # 95% limits over clusters
    high: float
    n_findings: int

    @property
    def sentence(self) -> str:
        subject = "The finding explains" if self.n_findings == 1 else "Together the findings explain"
        return (
            f"{subject} {percent(self.share)} [{number(self.low)}, {number(self.high)}] of the difference between the "
            f"models' answers, patched at layer {self.layer}."
        )


def explained_share(tests: Tests, n_findings: int) -> Explained | None:
    """The share that the cumulative patch up to the last finding closes, on the side of the first finding."""
    if not tests.findings:
        return None
    side = tests.findings[0].best.closed.side
    closed = tests.cumulative(max(tested.number for tested in tests.findings), side)
    if closed is None:
        return None
    return Explained(closed.patch.effects.layer, closed.share, closed.low, closed.high, n_findings)


def ordered(tests: Tests, threshold: float) -> list[tuple[TestedChange, tuple[TestedChange, ...]]]:
    """The findings that are told, in the order of D, each with those that repeat it.

    A finding repeats the earlier one that closes most of its behavior (or, without a behavior, the first one), if it
    adds less than the threshold and that earlier one carries its behavior too.
    """
    told: list[tuple[TestedChange, list[TestedChange]]] = []
    for tested in tests.findings:
        earlier = _repeated(tested, [each for each, _ in told], threshold)
        if earlier is None:
            told.append((tested, []))
        else:
            next(repeats for each, repeats in told if each is earlier).append(tested)
    return [(tested, tuple(repeats)) for tested, repeats in told]


def _repeated(tested: TestedChange, earlier: Sequence[TestedChange], threshold: float) -> TestedChange | None:
    if not earlier or tested.adds is None or tested.adds >= threshold:
        return None
    behavior = tested.planned.change.behavior
    if behavior is None:
        return earlier[0]
    shares = {
        id(each): max((part.share for part in each.best.behaviors if part.behavior == behavior), default=0.0)
        for each in earlier
    }
    best = max(earlier, key=lambda each: shares[id(each)])
    return best if shares[id(best)] >= METHOD.behavior_share else None


@dataclass(frozen=True, eq=False)
class Describer:
    """What all findings of a run are described with."""

    tests: Tests
    behaviors: Sequence[Behavior]
    extraction: Extraction
    residuals: Residuals
    layers: Sequence[LayerEffects]  # with their latent scaling on C
    words: Words
    contexts: Contexts
    predicates: Sequence[Predicate]  # of the concept bank
    config: RunConfig

    def describe(
        self, tested: TestedChange, repeats: tuple[TestedChange, ...], generated: Generated | None
    ) -> Finding:
        """One finding: tests use C, choices use D, listed words use both."""
        units, rows = self.extraction.units, self.extraction.rows
        side = tested.best.closed.side
        main = max(tested.planned.change.tested, key=lambda group: group.share)
        reading = self.tests.readings[tested.planned.tested.id, side]
        promoted, suppressed = pushed_words(reading, side, self.words, range(units.n))
        on_d = pushed_words(reading, side, self.words, np.flatnonzero(units.discovery).tolist())
        weights = main.change_at_tokens()
        in_class = rows.own & (rows.position_class == main.position_class)
        return Finding(
            tested=tested,
            repeats=repeats,
            behavior=self._behavior(tested),
            inside=classify(replace(main, effects=self.layers[main.index]), self.extraction, self.residuals),
            categories=self._categories(tested),
            promoted=[word for word, _ in promoted],
            suppressed=[word for word, _ in suppressed],
            pushed_on_d=[word for word, _ in on_d[0 if side == "target" else 1]],
            triggers=triggers_of(weights, in_class & rows.discovery, self.contexts),
            names=self._names(main),
            examples=examples_of(main, self.extraction, weights, in_class & ~rows.discovery),
            generated=generated,
            by_behavior=not tested.best.closes(self.config.feature_threshold),
        )

    def _names(self, main: Group) -> list[NameCandidate]:
        if self.config.skip_naming:
            return []
        return name_group(main, self.extraction, self.contexts, self.config.seed, self.predicates)

    def _behavior(self, tested: TestedChange) -> Behavior | None:
        """The behavior that the change goes with, if C confirmed it and that the change carries a part of it.

        One side is enough: a model that is sure of a phrase goes on with it although a patch takes its cause away.
        """
        at = tested.planned.change.behavior
        parts = [part for test in tested.sides.values() for part in test.behaviors if part.behavior == at]
        if at is None or not any(part.bounded and part.low > 0 for part in parts):
            return None
        return self.behaviors[at] if self.behaviors[at].confirmed(self.config.alpha) else None

    def _categories(self, tested: TestedChange) -> list[CategoryContrast]:
        """What the patch closes in one category against the rest, on C; strongest first."""
        units = self.extraction.units
        read = np.isin(np.arange(units.n), self.tests.units)
        means = cluster_means(tested.best.closed.nats[:, None], units.clusters[read])[:, 0]
        categories = categories_of(self.extraction, read)
        if len(np.unique(categories)) < 2:
            return []
        found = []
        for name, contrast, statistic, p in zip(
            *category_contrasts(means, categories, self.config.seed), strict=True
        ):
            inside = categories == name
            # The contrast as a mean: units inside count n/n_in, units outside -n/n_out.
            weights = np.where(inside, len(means) / inside.sum(), -len(means) / max((~inside).sum(), 1))
            interval = mean_interval(weights * means, np.arange(len(means)), seed=self.config.seed)
            tested_here = not np.isnan(p)
            found.append(
                CategoryContrast(
                    name,
                    float(contrast),
                    float(interval.low),
                    float(interval.high),
                    float(statistic) if tested_here else None,
                    float(p) if tested_here else None,
                    int(inside.sum()),
                )
            )
        return sorted(found, key=lambda item: -item.contrast)
