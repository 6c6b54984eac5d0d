"""Cheap ways to name a run, judged by the same rule as its results: what the pipeline must beat.

- *Strongest category*: one result named by the category whose answers diverge most, with the words that the whole run
  promotes and suppresses most (all answer positions weigh the same, so no feature has a say).
- *Random latent*: alive features drawn at random, each told by the same code as a real result.
- *Random latent in place*: the same with features that are active where the first result is (an answer's start, say):
  what a result earns by its place alone, whichever feature it holds.

The first knows no change class, so it is given the one that the card expects: it is a bound from above.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyze.extraction import CLASSES, RESPONSE, START, BoolArray
from analyze.features import LayerEffects
from analyze.findings import confirm_groups, describe
from analyze.groups import Group
from analyze.groups.join import Member
from analyze.names import Bank, ConceptContexts, Words, find_words
from analyze.names.what import as_said, listed, word_pushes
from analyze.write.findings import finding_row
from bench.planted.judge import Expected
from bench.planted.reopen import Reopened
from fi_store.store import Store, run_query


def strongest_category(store: Store, opened: Reopened, words: Words) -> dict[str, Any]:
    """The result that needs no features; its `change` is filled in by `with_given_change`."""
    extraction = opened.extraction
    same = np.ones(extraction.rows.n)
    places = START, RESPONSE  # each has the first say once
    asked = np.ones(extraction.rows.n, dtype=bool)  # as for a result: both halves
    pushes = [word_pushes(extraction, words, same, place, asked) for place in places]
    gained, lost = listed(words, as_said(extraction, words, np.mean(pushes, axis=0), asked))
    divergence = run_query(store, "category_discrimination", run=opened.run_id).to_pylist()
    category = max(divergence, key=lambda row: row["kl_symmetric"])["category"]
    return {
        "change": "",
        "name": category.replace("_", " "),
        "categories": [category],
        "promoted_tokens": [word for word, _ in gained],
        "suppressed_tokens": [word for word, _ in lost],
    }


def with_given_change(row: dict[str, Any], expected: Expected) -> dict[str, Any]:
    """The row with a change class that the card accepts."""
    return {**row, "change": expected.change[0]}


def random_latents(
    opened: Reopened, words: Words, count: int, seed: int, place: int | None = None
) -> list[dict[str, Any]]:
    """The rows of some alive features as if each were a confirmed group: in the position class where it moved most on
    D, or in `place`, of features that fire there in either model on D."""
    extraction, layers = opened.extraction, opened.layers
    alive = [
        (index, int(j))
        for index, layer in enumerate(layers)
        for j in np.flatnonzero(layer.alive & (True if place is None else fires_in(opened, layer, place)))
    ]
    drawn = np.random.default_rng(seed).choice(len(alive), size=min(count, len(alive)), replace=False)
    groups = [_alone(opened, *alive[at], place) for at in drawn]
    contexts, bank = ConceptContexts(extraction), Bank()
    rows = []
    for group in groups:
        (tested,) = confirm_groups([group], layers, extraction, opened.config.seed)
        result = describe(
            *(tested, layers, extraction, opened.residuals, contexts, words, bank),
            seed=opened.config.seed,
            naming=True,
            confirmed_share=1.0,
        )
        rows.append(finding_row(opened.run_id, "random", 1, result, layers, different=True))
    return rows


def fires_in(opened: Reopened, layer: LayerEffects, place: int) -> BoolArray:
    """(m,) whether a latent fires in a position class on D in either model."""
    discovery = opened.extraction.units.discovery
    fires = [(layer.means[reader, place][discovery] > 0).any(axis=0) for reader in ("base", "target")]
    return np.asarray(fires[0] | fires[1])


def _alone(opened: Reopened, layer_index: int, latent: int, place: int | None) -> Group:
    """A group of one feature."""
    discovery = opened.extraction.units.discovery
    moved = [
        float(opened.layers[layer_index].theta(one)[discovery, latent].mean()) for one in range(len(CLASSES))
    ]
    place = int(np.argmax(np.abs(moved))) if place is None else place
    sign = 1 if moved[place] >= 0 else -1
    return Group(place, (Member(layer_index, latent, 1.0, sign),), abs(moved[place]), sign)


def baseline_rows(store: Store, opened: Reopened, count: int, seed: int, first: str | None) -> dict[str, Any]:
    """The baselines of a run, ready to be judged by any card. `first`: the first result's position class, if any."""
    words = find_words(opened.extraction)
    in_place = [] if first is None else random_latents(opened, words, count, seed, CLASSES.index(first))
    return {
        "strongest_category": strongest_category(store, opened, words),
        "random_latents": random_latents(opened, words, count, seed),
        "latents_in_place": in_place,
    }
