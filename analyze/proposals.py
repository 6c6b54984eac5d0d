"""Asks a language model for names of the findings, and keeps those that their words' predicates bear out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from analyze.behaviors import OwnAnswers, separation
from analyze.examples import examples_of
from analyze.findings import Describer, Finding
from analyze.names import NameTest, ProposedName, behavior_title, pushed_words, score_proposals
from analyze.stats import holm
from fi_store.errors import NamingError, SilentModelError
from fi_store.naming import AnswerPair, NameRequest, Propose

PROMPTS = 3
"""Prompts whose answers the model sees."""


def propose_names(
    findings: Sequence[Finding],
    describer: Describer,
    answers: OwnAnswers,
    propose: Propose,
    warn: Callable[[str], None],
) -> list[Finding]:
    """The findings with what the model proposed for each; choices use D, tests C.

    A finding for which nothing usable was proposed keeps its name. A model that cannot be asked is not asked again.
    """
    config, discovery = describer.config, describer.extraction.units.discovery
    on_d = answers.within(discovery)
    proposed: list[list[ProposedName]] = [[] for _ in findings]
    for finding, names in zip(findings, proposed, strict=True):
        behavior = finding.behavior
        try:
            proposals = propose(request_of(finding, describer))
        except SilentModelError as error:
            warn(f"{error} The findings keep their own names.")
            break
        except NamingError as error:
            warn(f"{error} Finding '{finding.claim.name}' keeps its own name.")
            continue
        own = behavior.candidate.predicate if behavior is not None else None
        side = finding.tested.best.closed.side
        model = str(config.naming_model)
        names += score_proposals(proposals, model, side, own, finding.pushed_on_d, on_d, config.alpha)
    return [
        replace(finding, proposed=tuple(names))
        for finding, names in zip(
            findings, _confirmed(proposed, answers.within(~discovery), config.alpha), strict=True
        )
    ]


def _confirmed(
    proposed: Sequence[Sequence[ProposedName]], on_c: OwnAnswers, alpha: float
) -> list[list[ProposedName]]:
    """The same names, those that were chosen with their test on C (Holm over all of them)."""
    chosen = [name for names in proposed for name in names if name.chosen]
    found = [separation(name.predicate, name.on_d.side, on_c) for name in chosen]
    adjusted = holm(np.asarray([each.p_value for each in found])) if found else np.zeros(0)
    tested = {
        id(name): replace(name, test=NameTest(each, float(p), bool(p <= alpha)))
        for name, each, p in zip(chosen, found, adjusted, strict=True)
    }
    return [[tested.get(id(name), name) for name in names] for names in proposed]


def request_of(finding: Finding, describer: Describer) -> NameRequest:
    """What the model is asked with: words, windows and answers of D alone."""
    extraction, best = describer.extraction, finding.tested.best
    units, rows = extraction.units, extraction.rows
    discovery = np.flatnonzero(units.discovery).tolist()
    side = best.closed.side
    main = max(finding.tested.planned.change.tested, key=lambda group: group.share)
    inside = rows.own & rows.discovery & (rows.position_class == main.position_class)
    windows = examples_of(main, extraction, main.change_at_tokens(), inside)
    reading = describer.tests.readings[finding.tested.planned.tested.id, side]
    promoted, suppressed = pushed_words(reading, side, describer.words, discovery)
    shown = list(dict.fromkeys([*(window.unit for window in windows), *discovery]))[:PROMPTS]
    behavior = finding.behavior
    return NameRequest(
        side=side,
        title=behavior_title(behavior.candidate) if behavior is not None else None,
        promoted=tuple(word for word, _ in promoted),
        suppressed=tuple(word for word, _ in suppressed),
        windows=tuple(f"{window.before}«{window.token}»{window.after}" for window in windows),
        answers=tuple(
            AnswerPair(units.questions[unit], units.answers["base"][unit], units.answers["target"][unit])
            for unit in shown
        ),
    )
