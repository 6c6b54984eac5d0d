"""A result in words: its name (12 words at most), its sentence with the figures, and its description.

Pure functions of what was measured; nothing is tested or looked up here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analyze.behaviors import Behavior, Candidate
from analyze.extraction import CLASSES, PROMPT
from analyze.groups import Change, Group
from analyze.names.behavior import WordRates
from analyze.names.concepts import MatchedConcept
from analyze.names.predicates import Predicate
from fi_store.method import METHOD
from fi_store.vocabulary import CHANGE_CLASSES, POSITION_CLASSES, UNTESTED, Side

NAME_WORDS = 12


@dataclass(frozen=True)
class Claim:
    """A confirmed group with everything that its name, sentence and description mention."""

    group: Group
    layers: Sequence[int]
    change: Change
    scope: Sequence[str]  # categories; empty: all prompts
    n_units: int  # held-out prompts
    effect: float
    low: float
    high: float
    floor: float
    p_adjusted: float
    name_words: Sequence[str]
    triggers: Sequence[str]
    promoted: Sequence[str]
    suppressed: Sequence[str]
    predicate: Predicate | None  # None for an unnamed group
    concept: MatchedConcept | None
    behavior: WordRates | None
    # Name, contrast, adjusted p; None if no category stands out.
    strongest_category: tuple[str, float, float] | None

    @property
    def name(self) -> str:
        """What the group pushes and when it fires."""
        return make_name(
            self.group.direction,
            self.concept.words if self.concept else self.name_words,
            self.triggers,
            self.group.position_class,
            self.predicate,
            self.concept.concept.phrase if self.concept else None,
        )

    @property
    def sentence(self) -> str:
        """The claim with its figures: where, what, how strong, in how many answers, how certain.

        It leaves the answers out if their words do not move in the direction of the features.
        """
        p = p_phrase(self.p_adjusted, 1 / (METHOD.sign_flips + 1))
        claim = f"{layers_phrase(self.layers)}: {self.name} - {CHANGE_CLASSES[self.change.name]}"
        size = (
            f"θ {self.effect:+.2f} [{self.low:+.2f}, {self.high:+.2f}] against a floor of {self.floor:.2f}, "
            f"{p}, {self.n_units} held-out prompts{of_categories(self.scope)}"
            f"{'; change class and answers over all prompts' if self.scope else ''}"
        )
        behavior = self.behavior
        if behavior is None or self.group.direction * (behavior.rate_target - behavior.rate_base) <= 0:
            return f"{claim} ({size}); {UNTESTED}."
        answers = (
            f"{percent(behavior.rate_target)} of the target's and {percent(behavior.rate_base)} of the base's answers "
            f"{behavior.phrase}"
        )
        return f"{claim} ({answers}; {size}); {UNTESTED}."

    @property
    def description(self) -> str:
        """The features, the ratio of their activity, the concept, and the next tokens that they push."""
        change = self.change
        parts = [
            f"{_sides(self.group)} {POSITION_CLASSES[CLASSES[self.group.position_class]]}, "
            f"{layers_phrase(self.layers).lower()}",
            f"activity ratio target/base {2**change.log2_ratio:.2g} [{2**change.low:.2g}, {2**change.high:.2g}]"
            f"{' over all prompts' if self.scope else ''}",
        ]
        if count := len(self.group.companions):
            parts.append(
                f"{count} more {'groups' if count > 1 else 'group'} of features in other parts of the answers "
                f"{'move' if count > 1 else 'moves'} on the same prompts"
            )
        if change.auc_base is not None and change.auc_target is not None:
            parts.append(
                f"the base's residuals predict where it fires with AUC {change.auc_base:.2f}, "
                f"the target's with {change.auc_target:.2f}"
            )
        if self.concept is not None:
            parts.append(_concept_phrase(self.concept))
        if self.promoted:
            parts.append(f"next tokens that gain: {quoted(self.promoted, 5)}")
        if self.suppressed:
            parts.append(f"next tokens that lose: {quoted(self.suppressed, 5)}")
        if self.strongest_category is not None:
            category, contrast, p = self.strongest_category
            parts.append(
                f"strongest in {category.replace('_', ' ')} (contrast {contrast:+.2f}, adjusted p {p:.2g})"
            )
        return "; ".join(parts) + "."


def make_name(
    direction: int,
    pushed: Sequence[str],
    triggers: Sequence[str],
    position_class: int,
    predicate: Predicate | None,
    concept: str | None,
) -> str:
    """What the group pushes and when it fires, in at most 12 words; `predicate` is None for an unnamed group.

    A group that fires within questions pushes nothing there, so its name lists the words that trigger it. `concept` is
    the phrase that the pushed words point to; the words then follow it in parentheses.
    """
    pushed = [word for word in pushed if any(letter.isalnum() for letter in word)] or pushed
    when = predicate.phrase if predicate is not None else POSITION_CLASSES[CLASSES[position_class]]
    more = "more" if direction > 0 else "less"
    for count in (3, 2, 1):
        if concept is not None:
            what = f"{more} {concept} ({quoted(pushed, count)})"
        elif position_class == PROMPT or not pushed:
            what = f"{more} activity" + (
                f" on {quoted(triggers, count)}" if triggers and predicate is None else ""
            )
        else:
            what = f"{more} {quoted(pushed, count)}"
        name = f"{what} {when}"
        if len(name.split()) <= NAME_WORDS:
            return name
    return " ".join(name.split()[:NAME_WORDS])


def _sides(group: Group) -> str:
    """'3 features that gain and 1 feature that loses'."""
    gains = sum(member.sign > 0 for member in group.members)
    loses = len(group.members) - gains
    return " and ".join(
        f"{count} {'feature' if count == 1 else 'features'} that {verb}{'s' if count == 1 else ''}"
        for count, verb in ((gains, "gain"), (loses, "lose"))
        if count
    )


def _concept_phrase(matched: MatchedConcept) -> str:
    """The concept with the words that point to it, its rates in the answers, and what it is."""
    return (
        f"{quoted(matched.words, 3)} point to {matched.concept.phrase}, found in {percent(matched.rate_target)} of the "
        f"target's and {percent(matched.rate_base)} of the base's answers "
        f"({p_phrase(matched.p_value, 0.0001)}): {matched.concept.description.rstrip('.')}"
    )


def quoted(tokens: Sequence[str], limit: int) -> str:
    """'Step', 'First', 'Then'."""
    return ", ".join(f"'{token}'" for token in tokens[:limit])


def of_categories(scope: Sequence[str]) -> str:
    """'' for all prompts, or ' of formal logic and arithmetic'."""
    names = [name.replace("_", " ") for name in scope]
    if not names:
        return ""
    return f" of {', '.join(names[:-1])}{' and ' if len(names) > 1 else ''}{names[-1]}"


def layers_phrase(layers: Sequence[int]) -> str:
    """'Layer 17' or 'Layers 17, 23 and 28'."""
    if len(layers) == 1:
        return f"Layer {layers[0]}"
    return f"Layers {', '.join(map(str, layers[:-1]))} and {layers[-1]}"


def p_phrase(p: float, smallest: float) -> str:
    """'p 0.003', or 'p ≤ 0.0001' at the resolution of the test."""
    return f"p ≤ {smallest:.2g}" if p <= smallest * 1.01 else f"p {p:.2g}"


def percent(rate: float) -> str:
    """'81%'."""
    return f"{100 * rate:.0f}%"


def behavior_sentence(behavior: Behavior) -> str:
    """What one model's answers do more often, with both rates on the held-out prompts."""
    candidate = behavior.candidate
    other: Side = "base" if candidate.side == "target" else "target"
    more, less = (percent(behavior.rates[side].share) for side in (candidate.side, other))
    return f"{behavior_title(candidate)}: {more} of the {candidate.side}'s held-out answers, {less} of the {other}'s."


def behavior_title(candidate: Candidate) -> str:
    """`Answers with 'double' or 'check', as in 'let me double-check'`, `Answers in Spanish`."""
    phrase, predicate = candidate.phrase, candidate.predicate
    match predicate.kind:
        case "language":
            return f"Answers in {phrase}"
        case "form":
            return f"Answers with {phrase}"
        case "length":
            return f"Answers {phrase}"
        case "empty":
            return "Answers without any text"
        case "unfinished":
            return "Answers that are cut off at the token limit"
        case "repetition":
            return f"Answers that repeat {phrase}"
    concept = f" ({candidate.concept.phrase})" if candidate.concept is not None else ""
    if predicate.kind == "sequence":
        return f"Answers with '{phrase}'{concept}"
    shown = " or ".join(f"'{word}'" for word in predicate.value[:3])
    words = f"two of {shown.replace(' or ', ', ')}" if predicate.least > 1 else shown
    example = f", as in '{phrase}'" if phrase.casefold() != predicate.value[0] else ""
    return f"Answers with {words}{example}{concept}"
