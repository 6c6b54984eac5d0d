"""Which words a change pushes, from its patch itself (METHOD section 6).

c_v = mean over answer positions of p(v) log(p(v) / p patched(v)), p from the model without the patch. The model whose
features are taken away shows what they push up; the model that is given them shows what they push down.
"""

from __future__ import annotations

from collections.abc import Iterable

from analyze.causal import Reading
from analyze.names.words import Words
from fi_store.vocabulary import Side

LISTED = 10
"""Most words that are listed on either side."""

Pushed = list[tuple[str, float]]
"""Words with their nats, strongest first; nats are positive."""


def pushed_words(
    reading: Reading, side: Side, words: Words, units: Iterable[int], *, limit: int = LISTED
) -> tuple[Pushed, Pushed]:
    """The words that the target's features push up and down, summed over the answers to some units.

    `side`: the model that was patched. Special tokens are left out, and marks without a letter or digit if there is
    anything else.
    """
    chosen = set(units)
    summed = words.summed(each for (unit, _), each in reading.pushes.items() if unit in chosen)
    up = [(word, nats) for word, nats in summed if nats > 0]
    down = [(word, -nats) for word, nats in reversed(summed) if nats < 0]
    first, second = (_readable(part)[:limit] for part in (up, down))
    return (first, second) if side == "target" else (second, first)


def _readable(pushed: Pushed) -> Pushed:
    plain = [item for item in pushed if not (item[0].startswith("<") and item[0].endswith(">"))]
    return [item for item in plain if any(letter.isalnum() for letter in item[0])] or plain
