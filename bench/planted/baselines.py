"""Cheap ways to name a run's change, judged by the same rule as its results: what the pipeline must beat.

- *Strongest category*: one result named by the category whose answers diverge most, with the words that the whole run
  promotes and suppresses most (all answer positions count the same, so no feature is involved).
- *Random latent*: alive features drawn at random, each described by the same code as a real result.
- *Random latent in place*: the same, with features that fire in the first result's position class (the start of an
  answer, say): what a result earns by its position class alone, whatever its features.

The first has no change class, so it is given the one that the card expects: it is an upper bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyze.extraction import CLASSES, RESPONSE, START, BoolArray
from analyze.features import LayerEffects
from analyze.findings import confirm_groups, describe
from analyze.groups import Group, choose_scopes
from analyze.groups.join import Member
from analyze.names import Bank, ConceptContexts, Words, find_words
from analyze.names.what import listed, shown_in_answers, word_pushes
from analyze.write.findings import finding_row
from bench.planted.judge import Expected
from bench.planted.reopen import Reopened
from fi_store.store import Store, run_query


def strongest_category(store: Store, opened: Reopened, words: Words) -> dict[str, Any]:
    """The result that needs no features; `with_given_change` fills in its `change`."""
    extraction = opened.extraction
    same = np.ones(extraction.rows.n)
    chosen = np.ones(extraction.rows.n, dtype=bool)  # as for a result: both halves
    pushes = [word_pushes(extraction, words, same, first, chosen) for first in (START, RESPONSE)]
    gained, lost = listed(words, shown_in_answers(extraction, words, np.mean(pushes, axis=0), chosen))
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
    opened: Reopened, words: Words, count: int, seed: int, position_class: int | None = None
) -> list[dict[str, Any]]:
    """The rows of some alive features as if each were a confirmed group.

    A feature is described in the position class where it moved most on D. If `position_class` (an index) is given, only
    features that fire there on D in either model are drawn, and they are described there.
    """
    extraction, layers = opened.extraction, opened.layers
    alive = [
        (index, int(j))
        for index, layer in enumerate(layers)
        for j in np.flatnonzero(
            layer.alive & (True if position_class is None else fires_in(opened, layer, position_class))
        )
    ]
    drawn = np.random.default_rng(seed).choice(len(alive), size=min(count, len(alive)), replace=False)
    groups = [_alone(opened, alive[at][0], alive[at][1], position_class) for at in drawn]
    contexts, bank = ConceptContexts(extraction), Bank()
    rows = []
    for group in groups:
        (tested,) = confirm_groups(
            [group], choose_scopes([group], layers, extraction), layers, extraction, opened.config.seed
        )
        result = describe(
            *(tested, layers, extraction, opened.residuals, contexts, words, bank),
            seed=opened.config.seed,
            naming=True,
            confirmed_share=1.0,
        )
        rows.append(finding_row(opened.run_id, "random", 1, result, layers, different=True))
    return rows


def fires_in(opened: Reopened, layer: LayerEffects, position_class: int) -> BoolArray:
    """(m,) whether each latent fires in a position class on D in either model."""
    discovery = opened.extraction.units.discovery
    fires = [
        (layer.means[reader, position_class][discovery] > 0).any(axis=0) for reader in ("base", "target")
    ]
    return np.asarray(fires[0] | fires[1])


def _alone(opened: Reopened, layer_index: int, latent: int, position_class: int | None) -> Group:
    """A group of one feature."""
    discovery = opened.extraction.units.discovery
    moved = [
        float(opened.layers[layer_index].theta(index)[discovery, latent].mean())
        for index in range(len(CLASSES))
    ]
    if position_class is None:
        position_class = int(np.argmax(np.abs(moved)))
    sign = 1 if moved[position_class] >= 0 else -1
    return Group(position_class, (Member(layer_index, latent, 1.0, sign),), abs(moved[position_class]), sign)


def baseline_rows(store: Store, opened: Reopened, count: int, seed: int, first: str | None) -> dict[str, Any]:
    """The baselines of a run, to be judged by any card. `first`: the first result's position class, if any."""
    words = find_words(opened.extraction)
    in_place = [] if first is None else random_latents(opened, words, count, seed, CLASSES.index(first))
    return {
        "strongest_category": strongest_category(store, opened, words),
        "random_latents": random_latents(opened, words, count, seed),
        "latents_in_place": in_place,
    }
