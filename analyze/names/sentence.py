"""Turns measured parts into the words of a result: its name (12 words at most), its sentence."""

from __future__ import annotations

from collections.abc import Sequence

from analyze.extraction import CLASSES, PROMPT
from analyze.names.predicates import Predicate
from fi_store.vocabulary import POSITION_CLASSES

NAME_WORDS = 12


def quoted(tokens: Sequence[str], limit: int) -> str:
    """'Step', 'First' and 'Then'."""
    return ", ".join(f"'{token}'" for token in tokens[:limit])


def make_name(
    direction: int,
    pushed: Sequence[str],
    triggers: Sequence[str],
    position_class: int,
    predicate: Predicate | None,
    concept: str | None,
) -> str:
    """What the group pushes and when it fires, in at most 12 words; `predicate` is None for an unnamed group.

    A group that fires within questions pushes nothing there, so it is told by the words that set it off. `concept`:
    the phrase that the pushed words speak of, which then stand behind it.
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
