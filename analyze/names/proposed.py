"""Names that a language model proposed: each becomes a predicate over answers, chosen on D and tested on C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analyze.behaviors import AnswerPredicate, OwnAnswers, Separation, likeness, separation
from fi_store.naming import Proposal
from fi_store.vocabulary import Side

LEAST = (1, 2)
"""How many of a proposal's words an answer must have: whichever separates the answers of D better."""
ALIKE = 0.5
"""A proposal names a behavior only if it holds for a similar set of answers (Jaccard index on D), as for concepts."""


@dataclass(frozen=True)
class NameTest:
    """The test on C of a name that was chosen on D."""

    on_c: Separation
    p_adjusted: float  # Holm over the chosen names of a run
    passed: bool


@dataclass(frozen=True)
class ProposedName:
    """A proposal with its scores."""

    phrase: str
    model: str  # that proposed it
    predicate: AnswerPredicate
    on_d: Separation
    chosen: bool = False  # the best one of its finding, if it is good enough on D
    test: NameTest | None = None  # of the chosen one

    @property
    def named(self) -> bool:
        """Chosen on D and confirmed on C."""
        return self.test is not None and self.test.passed


def score_proposals(
    proposals: Sequence[Proposal],
    model: str,
    side: Side,
    own: AnswerPredicate | None,
    pushed: Sequence[str],
    on_d: OwnAnswers,
    alpha: float,
) -> list[ProposedName]:
    """The proposals for one finding, best first, with the one that is chosen on D.

    `own`: of the finding's behavior. A proposal must separate the answers at least as well, and hold for similar ones.
    Without a behavior it must have a word that the finding pushes (`pushed`), and separate the answers beyond chance.
    """
    scored = [_scored(proposal, model, side, on_d) for proposal in proposals]
    scored.sort(key=lambda name: -name.on_d.z)
    if own is None:
        words = {word.casefold() for word in pushed}
        fitting = [
            name
            for name in scored
            if name.on_d.p_value <= alpha and not words.isdisjoint(name.predicate.words)
        ]
    else:
        needed = separation(own, side, on_d).z
        fitting = [
            name for name in scored if name.on_d.z >= needed and likeness(name.predicate, own, on_d) >= ALIKE
        ]
    return [replace(name, chosen=name is fitting[0]) if fitting else name for name in scored]


def _scored(proposal: Proposal, model: str, side: Side, on_d: OwnAnswers) -> ProposedName:
    options = [AnswerPredicate("words", tuple(proposal.words), least) for least in LEAST]
    found = [(predicate, separation(predicate, side, on_d)) for predicate in options]
    predicate, best = max(found, key=lambda item: item[1].z)
    return ProposedName(proposal.phrase, model, predicate, best)
