"""A finding in words: its name (12 words at most), its sentence with the figures, and its description.

Pure functions of what was measured; nothing is tested or looked up here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analyze.behaviors import Behavior, Candidate
from analyze.causal import Generated, LayerShare
from analyze.names.proposed import NameTest, ProposedName
from fi_store.vocabulary import CHANGE_CLASSES, POSITION_CLASSES, Side
from fi_store.wording import count

NAME_WORDS = 12


@dataclass(frozen=True)
class Claim:
    """A finding with everything that its name, sentence and description mention."""

    behavior: Behavior | None
    side: Side  # the model that was patched
    layer: int  # tested
    classes: Sequence[str]  # position classes of its features there
    n_features: int  # there
    share: tuple[float, float, float]  # closed: estimate and 95% limits
    share_control: float | None
    share_behavior: tuple[float, float, float] | None
    by_behavior: bool  # it closes too little of the whole gap, and is a finding by its behavior
    ceiling: float | None
    later: LayerShare | None  # the layer after the tested one at which it closes most
    p_adjusted: float
    promoted: Sequence[str]
    suppressed: Sequence[str]
    name_words: Sequence[str]  # pushed on D
    when: str | None  # the predicate's phrase, if it passed
    change: str
    change_inside: str
    rates: Generated | None
    strongest_category: str | None
    n_units: int
    proposed: ProposedName | None = None  # by a language model, and confirmed on C

    @property
    def name(self) -> str:
        """What was proposed; its behavior; or else the words that it pushes and where, in at most 12 words."""
        if self.proposed is not None:
            return shortened(self.proposed.phrase)
        if self.behavior is not None:
            return shortened(behavior_title(self.behavior.candidate))
        where = self.when or _where(self.classes)
        if not self.name_words:
            return shortened(f"Features {where}")
        for limit in (3, 2, 1):
            name = f"{self.direction_word} {quoted(self.name_words, limit)} {where}"
            if len(name.split()) <= NAME_WORDS:
                return name
        return shortened(f"{self.direction_word} {quoted(self.name_words, 1)}")

    @property
    def direction_word(self) -> str:
        return "More" if self.side == "target" else "Less"

    @property
    def sentence(self) -> str:
        """What the answers do, what carries it and where, and what happens when it is switched off."""
        first = (
            behavior_sentence(self.behavior)
            if self.behavior is not None
            else f"{self.name} ({CHANGE_CLASSES[self.change]})."
        )
        return " ".join([first, self._carried(), *self._generated(), *self._proposed()])

    def _carried(self) -> str:
        """'7 features of layer 17, at the start of the answer, carry a part of it: set to the base's values ...'."""
        other = "base" if self.side == "target" else "target"
        one = self.n_features == 1
        verb = "takes part in it" if one else "take part in it"
        if not self._unmoved:  # else "carry" would promise more
            verb = "carries a part of it" if one else "carry a part of it"
        control = f" (control {percent(self.share_control)})" if self.share_control is not None else ""
        share, what = self.share, "the difference between the models"
        if self.by_behavior and self.share_behavior is not None:
            share, what, control = self.share_behavior, "it", ""
        return (
            f"{count(self.n_features, 'feature')} of layer {self.layer}, {_where(self.classes)}, {verb}: "
            f"set to the {other}'s values {'it closes' if one else 'they close'} "
            f"{percent(share[0])} [{number(share[1])}, {number(share[2])}] of {what}{control}."
        )

    @property
    def _unmoved(self) -> bool:
        """Whether new answers have the behavior as often although its features are switched off."""
        return self.behavior is not None and self.rates is not None and self.rates.patched >= self.rates.clean

    def _generated(self) -> list[str]:
        """'With them switched off, 1 of 20 new answers has it instead of 20 (control 17).'"""
        rates = self.rates
        if rates is None or self.behavior is None:
            return []
        patched, clean = (round(rate * rates.n) for rate in (rates.patched, rates.clean))
        control = f"control {round(rates.control * rates.n)}" if rates.control is not None else ""
        candidate = self.behavior.candidate
        what = f"in {candidate.phrase}" if candidate.predicate.kind == "language" else "so"
        verbs = (f"is {what}", f"are {what}") if candidate.predicate.whole_answer else ("has it", "have it")
        of = f"{patched} of {count(rates.n, 'new answer')} {verbs[patched != 1]}"
        if self._unmoved:
            before = f"{clean}; {control}" if control else str(clean)
            return [f"{self._switched_off(rates)}, {of}, no fewer than before ({before})."]
        return [f"{self._switched_off(rates)}, {of} instead of {clean}{f' ({control})' if control else ''}."]

    def _switched_off(self, rates: Generated) -> str:
        """'With them switched off', 'In layer 28, 16 features close 38%; with them switched off'."""
        if rates.layer == self.layer:
            return f"With {'it' if self.n_features == 1 else 'them'} switched off"
        features = count(rates.n_features, "feature")
        if self.later is None or self.later.layer != rates.layer or self.by_behavior:
            return f"With {features} of layer {rates.layer} switched off"
        close, them = ("closes", "it") if rates.n_features == 1 else ("close", "them")
        return f"In layer {rates.layer}, {features} {close} {percent(self.later.share)}; with {them} switched off"

    def _proposed(self) -> list[str]:
        """Who proposed the name, so that nobody takes it for a measured one."""
        return [f"(Name proposed by {self.proposed.model}.)"] if self.proposed is not None else []

    @property
    def description(self) -> str:
        """Words, position, ceiling, activity of the features, categories, who proposed its name."""
        parts = []
        if self.promoted:
            parts.append(f"words that the target gains by it: {quoted(self.promoted, 5)}")
        if self.suppressed:
            parts.append(f"words that it loses: {quoted(self.suppressed, 5)}")
        if self.when is not None:
            parts.append(f"active {self.when}")
        if self.ceiling is not None:
            parts.append(
                f"the whole difference at layer {self.layer}, {_where(self.classes)}, closes {percent(self.ceiling)}"
            )
        parts.append(f"its features: {CHANGE_CLASSES[self.change_inside]}")
        if self.strongest_category is not None:
            parts.append(f"strongest in {self.strongest_category.replace('_', ' ')}")
        parts.append(f"{p_phrase(self.p_adjusted, 0.001)} over {count(self.n_units, 'held-out prompt')}")
        if self.proposed is not None and self.proposed.test is not None:
            parts.append(self._tested_name(self.proposed, self.proposed.test))
        text = "; ".join(parts)
        return f"{text[0].upper()}{text[1:]}."

    def _tested_name(self, name: ProposedName, test: NameTest) -> str:
        """'At least 2 of 'first', 'then' in 60% of the target's held-out answers, ... (name proposed by M)'."""
        other: Side = "base" if self.side == "target" else "target"
        own, less = (percent(test.on_c.rates[side]) for side in (self.side, other))
        words = quoted(name.predicate.words, len(name.predicate.words))
        return (
            f"at least {name.predicate.least} of {words} in {own} of the {self.side}'s held-out answers, {less} of the "
            f"{other}'s, {p_phrase(test.p_adjusted, 0.0001)} (name proposed by {name.model})"
        )


def shortened(text: str) -> str:
    """At most 12 words."""
    words = text.split()
    return " ".join(words[:NAME_WORDS]) + ("…" if len(words) > NAME_WORDS else "")


def _where(classes: Sequence[str]) -> str:
    """'at the start of the answer', 'in the prompt and in the answer'."""
    phrases = [POSITION_CLASSES[name] for name in classes]
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)


def quoted(tokens: Sequence[str], limit: int) -> str:
    """'Step', 'First', 'Then'."""
    return ", ".join(f"'{token}'" for token in tokens[:limit])


def p_phrase(p: float, smallest: float) -> str:
    """'p 0.003', or 'p ≤ 0.0001' at the resolution of the test."""
    return f"p ≤ {smallest:.2g}" if p <= smallest * 1.01 else f"p {p:.2g}"


def percent(rate: float) -> str:
    """'81%', '−6%'."""
    return f"{number(rate)}%"


def number(rate: float) -> str:
    """A share in percent without its sign: '81', '−6'."""
    return f"{100 * rate:.0f}".replace("-0", "0").replace("-", "−")


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
        case "thinking":
            return f"Answers with {phrase}"
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
