"""How well a predicate that was not searched for separates two models' answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyze.behaviors.own_answers import OwnAnswers
from analyze.behaviors.predicates import AnswerPredicate
from analyze.behaviors.score import discordant, log_odds, one_sided_p
from fi_store.vocabulary import SIDES, Side


@dataclass(frozen=True)
class Separation:
    """A predicate on one half of the answers; `side` is the model that should have it more."""

    side: Side
    rates: dict[Side, float]  # means over clusters
    z: float  # log-odds, positive where `side` has it more
    p_value: float  # McNemar over clusters, exact, one-sided

    @property
    def auc(self) -> float:
        """Of the predicate as a guess at which model wrote an answer: `side` if it holds."""
        ahead = self.rates["target"] - self.rates["base"]
        return (1 + (ahead if self.side == "target" else -ahead)) / 2


def separation(predicate: AnswerPredicate, side: Side, answers: OwnAnswers) -> Separation:
    """Scores a predicate on all clusters of the answers, as the search for behaviors scores its own."""
    base, target = answers.shares(predicate)
    z = float(log_odds(base[:, None], target[:, None])[0])
    up, down = discordant(base, target)
    ahead, behind = (up, down) if side == "target" else (down, up)
    return Separation(
        side=side,
        rates={"base": float(base.mean()), "target": float(target.mean())},
        z=z if side == "target" else -z,
        p_value=one_sided_p(ahead, behind),
    )


def likeness(one: AnswerPredicate, other: AnswerPredicate, answers: OwnAnswers) -> float:
    """The Jaccard index of the answers of both models for which either holds; 0 if neither holds for any."""
    first, second = (
        np.concatenate([answers.holds(predicate, side) for side in SIDES]) for predicate in (one, other)
    )
    return float((first & second).sum()) / max(1, int((first | second).sum()))
