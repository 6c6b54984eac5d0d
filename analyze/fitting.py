"""The dictionaries of a run: one for each site and analyzed layer, once for every seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from analyze.extraction import Extraction, SiteLayer
from analyze.features import LayerEffects, measure_effects, other_side
from analyze.fit import FitOptions, Pretrained, as_dictionary, fit_dictionary, load_pretrained
from analyze.groups import Residuals
from analyze.shards import StoredRows
from fi_store.config import DictionaryKind, RunConfig
from fi_store.dictionaries import Dictionary
from fi_store.progress import Progress
from fi_store.store import Store, dictionary_path
from fi_store.store.tables import Model, Run
from fi_store.vocabulary import SIDES, Side


@dataclass(frozen=True)
class Fitted:
    """The dictionaries of a run with their effects, and where the activations are that they were measured on."""

    layers: list[LayerEffects]
    residuals: Residuals
    others: list[list[LayerEffects]] = field(default_factory=list)  # the layers of every further seed


def fit_all(store: Store, run: Run, config: RunConfig, extraction: Extraction, progress: Progress) -> Fitted:
    """Learns and saves the dictionaries; none if the models are identical.

    Raises:
        AnalysisError: nothing can be learned from the activations, or a ready dictionary does not fit.
    """
    if _identical(store, run):
        warn(
            store,
            run,
            progress,
            "The models' activations are identical on every text, so there are no features to look for.",
        )
        return Fitted([], Residuals({}, extraction))
    with store.session() as session:
        models = [session.get_one(Model, m) for m in (run.base_model_id, run.target_model_id)]
    site_layers: list[SiteLayer] = [
        (site, layer)
        for site in config.sites
        for layer in config.analyzed_layers(max(model.n_layers for model in models))
    ]
    kind = config.dictionary_kind((models[0].d_model, models[1].d_model))
    ready = _ready_dictionary(store, run, config, site_layers, progress)
    layers: list[LayerEffects] = []
    residuals: dict[tuple[Side, int], StoredRows] = {}
    with progress.task("learning dictionaries", len(site_layers) * config.dictionary_steps) as advance:
        for site_layer in site_layers:
            for side in SIDES:
                residuals[side, len(layers)] = extraction.activations(side, *site_layer)
            effects = _fit_one(run, config, kind, extraction, site_layer, ready.get(site_layer), 0, advance)
            layers.append(effects)
            effects.dictionary.save(store.folder / dictionary_path(run.id, *site_layer))
    if not layers[0].dictionary.config.same_width:
        warn(
            store,
            run,
            progress,
            "The models have different widths, so a crosscoder was learned, without mean shift and latent scaling.",
        )
    others = []
    for number in range(1, config.dictionary_seeds):
        with progress.task(
            f"learning dictionaries again (seed {number + 1} of {config.dictionary_seeds})",
            len(site_layers) * config.dictionary_steps,
        ) as advance:
            again = []
            for site_layer in site_layers:
                again.append(_fit_one(run, config, kind, extraction, site_layer, None, number, advance))
            others.append(again)
    return Fitted(layers, Residuals(residuals, extraction), others)


def _fit_one(
    run: Run,
    config: RunConfig,
    kind: DictionaryKind,
    extraction: Extraction,
    site_layer: SiteLayer,
    ready: Pretrained | None,
    number: int,
    advance: Callable[[int], None],
) -> LayerEffects:
    """The effects of one site and layer's dictionary: the ready one, or one learned with the `number`-th seed."""
    activations = {side: extraction.activations(side, *site_layer) for side in SIDES}
    first: Side = "base" if run.canonical_first == "base" else "target"
    pair = activations[first], activations[other_side(first)]
    dictionary = _dictionary(config, kind, extraction, pair, site_layer, ready, number, advance)
    return measure_effects(extraction, dictionary, activations, first)


def _dictionary(
    config: RunConfig,
    kind: DictionaryKind,
    extraction: Extraction,
    pair: tuple[StoredRows, StoredRows],
    site_layer: SiteLayer,
    ready: Pretrained | None,
    number: int,
    advance: Callable[[int], None],
) -> Dictionary:
    """The dictionary itself, checked on or learned from the rows of D of both models, in canonical order."""
    train = torch.from_numpy(np.flatnonzero(extraction.rows.discovery))
    rows = pair[0][train], pair[1][train]
    if ready is not None:
        advance(config.dictionary_steps)
        return as_dictionary(ready, rows, site_layer, config.seed)
    options = FitOptions(
        site=site_layer[0],
        layer=site_layer[1],
        n_latents=config.latents(kind, len(rows[0]), max(x.shape[1] for x in rows)),
        k=config.k,
        steps=config.dictionary_steps,
        batch=config.dictionary_batch,
        seed=config.seed + number,
    )
    classes = torch.from_numpy(extraction.rows.position_class.astype(np.int64))[train]
    return fit_dictionary(kind, rows, classes, options, advance)


def _ready_dictionary(
    store: Store, run: Run, config: RunConfig, site_layers: list[SiteLayer], progress: Progress
) -> dict[SiteLayer, Pretrained]:
    """The dictionary of `--dictionary-file`, if there is one, under its site and layer."""
    if config.dictionary_file is None:
        return {}
    ready = load_pretrained(config.dictionary_file)
    made_for = ready.about.get("model")
    if made_for is not None and made_for not in (run.base_reference, run.target_reference):
        warn(
            store,
            run,
            progress,
            f"The dictionary {ready.folder} was made for {made_for}, not for either model.",
        )
    return {ready.site_layer(site_layers): ready}


def _identical(store: Store, run: Run) -> bool:
    """Whether both models' activations are equal on every text."""
    (found,) = store.rows(
        "select max(relative_difference) as largest from activation_summary where run_id = $run",
        run=run.extraction_run_id,
    )
    return bool(found["largest"] == 0)


def warn(store: Store, run: Run, progress: Progress, message: str) -> None:
    """Records a warning of the analysis and prints it."""
    store.event(run.id, "analyze", "warning", message)
    progress.note(message, warning=True)
