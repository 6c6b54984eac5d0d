"""Cheap ways to tell what changed, judged by a part of the hit rule: what the findings must beat.

- *Behaviors alone*: the first confirmed difference between the answers, by its direction and its words.
- *Activation difference lens*: the ten words that the mean shift between the models promotes through the final norm and
  the unembedding, at each analyzed layer and position class (Minder et al. 2025, "Narrow finetuning leaves clearly
  readable traces in activation differences").
- *Strongest category*: the category of prompts whose answers diverge most.
- *Random features*: alive features drawn at random, by the ten words that their directions promote in the same way.

None of them is asked for all that a finding must show, so each is an upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analyze.extraction import CLASSES, RESPONSE, START, Extraction, load_extraction
from bench.planted.judge import LISTED, Expected, shows
from extract.models import load_pair
from fi_store.dictionaries import load_directions
from fi_store.store import Store, dictionary_path, run_query
from fi_store.vocabulary import SIDES

GAINS = {"target": ("added", "strengthened"), "base": ("removed", "weakened")}
"""The side whose answers have a behavior more often -> its change classes."""


class Lens:
    """Reads directions as the words that they promote: final norm and unembedding of a model."""

    def __init__(self, reference: str, cache_dir: Path) -> None:
        reader = load_pair(reference, reference, cache_dir=cache_dir, note=lambda _: None).base
        self.model: Any = reader.plain
        self.tokenizer: Any = reader.tokenizer

    @torch.inference_mode()
    def words(self, direction: np.ndarray) -> dict[str, list[str]]:
        """The ten words that a direction (d,) promotes, and those that it suppresses, strongest first."""
        found = {}
        for side, sign in (("promoted_tokens", 1), ("suppressed_tokens", -1)):
            state = torch.from_numpy(sign * direction).to(self.model.dtype).to(self.model.device)
            logits = self.model.get_output_embeddings()(self.model.model.norm(state[None]))[0]
            found[side] = [self.tokenizer.decode([token]) for token in logits.topk(LISTED).indices.tolist()]
        return found


@cache
def lens(reference: str, cache_dir: Path) -> Lens:
    """The lens of a model, loaded once."""
    return Lens(reference, cache_dir)


def baselines(store: Store, run_id: str, through: Lens, count: int) -> dict[str, Any]:
    """What each baseline says of a run, to be judged by any card. `count`: the number of random features."""
    run = store.run(run_id)
    behaviors = run_query(store, "behaviors", run=run_id).to_pylist()
    categories = run_query(store, "category_discrimination", run=run_id).to_pylist()
    layers = store.rows("select site, layer from dictionary where run_id = $run order by layer", run=run_id)
    extraction = load_extraction(store, run)
    first = next((row for row in behaviors if row["confirmed"]), None)
    return {
        "behavior": first and {key: first[key] for key in ("side", "phrase", "words")},
        "category": categories[0]["category"],
        "shifts": [
            {"layer": each["layer"], "position_class": CLASSES[position_class]} | through.words(shift)
            for each in layers
            for position_class in (START, RESPONSE)
            for shift in (mean_shift(extraction, each["site"], each["layer"], position_class),)
        ],
        "features": random_features(store, run_id, through, count),
    }


def mean_shift(extraction: Extraction, site: str, layer: int, position_class: int) -> np.ndarray:
    """(d,) mean of target - base over the rows of D in a position class."""
    rows = extraction.rows
    inside = rows.own & rows.discovery & (rows.position_class == position_class)
    chosen = torch.from_numpy(np.flatnonzero(inside))
    base, target = (extraction.activations(side, site, layer)[chosen].float().mean(dim=0) for side in SIDES)
    return np.asarray((target - base).numpy())


def random_features(store: Store, run_id: str, through: Lens, count: int) -> list[dict[str, Any]]:
    """Alive features with the words that they promote as they move from base to target."""
    alive = store.rows(
        "select site, layer, latent, theta from feature where run_id = $run and alive and theta is not null"
        " order by site, layer, latent",
        run=run_id,
    )
    found = []
    for at in np.random.default_rng(0).permutation(len(alive))[:count]:
        row = alive[at]
        folder = store.folder / dictionary_path(run_id, row["site"], row["layer"])
        direction = load_directions(folder, [row["latent"]])[0] * np.sign(row["theta"])
        found.append({"layer": row["layer"], "latent": row["latent"]} | through.words(direction))
    return found


def judge_baselines(shown: Mapping[str, Any], expected: Expected) -> dict[str, Any]:
    """Whether each baseline shows what is expected; for the features, whether each of them does."""
    behavior = shown["behavior"]
    same_way = behavior is not None and set(GAINS[behavior["side"]]) & set(expected.change)
    return {
        "behaviors alone": bool(same_way) and shows(behavior["words"], expected),
        "activation difference lens": _any_shows(shown["shifts"], expected),
        "strongest category": shown["category"] in expected.categories,
        "random features": [_any_shows([row], expected) for row in shown["features"]],
    }


def _any_shows(rows: Sequence[Mapping[str, Any]], expected: Expected) -> bool:
    return any(shows(row[expected.side], expected) for row in rows)
