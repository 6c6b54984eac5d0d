"""The dictionaries of a run: one for each site and analyzed layer, and again for every further seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from analyze.extraction import Extraction
from analyze.features import LayerEffects, measure_effects, with_scaling
from analyze.fit import FitOptions, Place, Pretrained, as_dictionary, fit_dictionary, load_pretrained
from analyze.groups import Group, Residuals, make_groups
from fi_store.config import RunConfig
from fi_store.progress import Progress
from fi_store.store import Store, dictionary_path
from fi_store.store.tables import Model, Run


@dataclass(frozen=True)
class Fitted:
    """The dictionaries of a run with their effects, and the activations that they were measured on."""

    layers: list[LayerEffects]
    residuals: Residuals
    others: list[tuple[list[Group], list[LayerEffects]]] = field(default_factory=list)  # of each further seed

    def with_scaling(self, extraction: Extraction, seed: int) -> list[LayerEffects]:
        """The layers with their latent scaling: reads C."""
        return [
            with_scaling(
                effects,
                extraction,
                (self.residuals.rows[effects.readers[0], at], self.residuals.rows[effects.readers[1], at]),
                seed,
            )
            for at, effects in enumerate(self.layers)
        ]


def fit_all(store: Store, run: Run, config: RunConfig, extraction: Extraction, progress: Progress) -> Fitted:
    """Learns and saves the dictionaries; none for identical or incomparable models.

    Raises:
        AnalysisError: activations that nothing can be learned from; a ready dictionary that does not fit.
    """
    reason = _no_dictionary_reason(store, run, config)
    if reason is not None:
        _warn(store, run, progress, reason)
        return Fitted([], Residuals({}, extraction))
    with store.session() as session:
        n_layers = min(session.get_one(Model, m).n_layers for m in (run.base_model_id, run.target_model_id))
    places: list[Place] = [
        (site, layer) for site in config.sites for layer in config.analyzed_layers(n_layers)
    ]
    ready = _ready_dictionary(store, run, config, places, progress)
    layers: list[LayerEffects] = []
    residuals: dict[tuple[str, int], torch.Tensor] = {}
    with progress.task("learning dictionaries", len(places) * config.dictionary_steps) as advance:
        for place in places:
            activations = {r: extraction.activations(r, *place) for r in extraction.readers}
            effects = _fit_one(run, config, extraction, activations, place, ready.get(place), 0, advance)
            for reader in ("base", "target"):
                residuals[reader, len(layers)] = activations[reader]
            layers.append(effects)
            effects.dictionary.save(store.folder / dictionary_path(run.id, *place))
    if not layers[0].dictionary.config.same_width:
        _warn(
            store,
            run,
            progress,
            "The models have different widths: dark matter, the mean shift and latent scaling have no meaning here.",
        )
    others = []
    for number in range(1, config.dictionary_seeds):
        with progress.task(
            f"learning dictionaries again (seed {number + 1} of {config.dictionary_seeds})",
            len(places) * config.dictionary_steps,
        ) as advance:
            again = []
            for place in places:
                activations = {r: extraction.activations(r, *place) for r in extraction.readers}
                again.append(_fit_one(run, config, extraction, activations, place, None, number, advance))
            others.append((make_groups(again, extraction)[: config.candidates], again))
    return Fitted(layers, Residuals(residuals, extraction), others)


def _fit_one(
    run: Run,
    config: RunConfig,
    extraction: Extraction,
    activations: dict[str, torch.Tensor],
    place: Place,
    ready: Pretrained | None,
    number: int,
    advance: Callable[[int], None],
) -> LayerEffects:
    """The dictionary of one place, the `number`-th seed's, with what it shows."""
    first, second = ("base", "target") if run.canonical_first == "base" else ("target", "base")
    train = torch.from_numpy(extraction.rows.discovery)
    rows = activations[first][train], activations[second][train]
    if ready is not None:
        advance(config.dictionary_steps)
        dictionary = as_dictionary(ready, rows, place, config.seed)
        return measure_effects(extraction, dictionary, activations, first, config.feature_threshold)
    options = FitOptions(
        site=place[0],
        layer=place[1],
        n_latents=config.n_latents,
        k=config.k,
        steps=config.dictionary_steps,
        batch=config.dictionary_batch,
        seed=config.seed + number,
    )
    classes = torch.from_numpy(extraction.rows.position_class)[train]
    learned = fit_dictionary(config.dictionary, rows, classes, options, advance)
    return measure_effects(extraction, learned, activations, first, config.feature_threshold)


def _ready_dictionary(
    store: Store, run: Run, config: RunConfig, places: list[Place], progress: Progress
) -> dict[Place, Pretrained]:
    """The dictionary of `--dictionary-file` at its place."""
    if config.dictionary_file is None:
        return {}
    ready = load_pretrained(config.dictionary_file)
    made_for = ready.about.get("model")
    if made_for is not None and made_for not in (run.base_reference, run.target_reference):
        _warn(
            store,
            run,
            progress,
            f"The dictionary {ready.folder} was made for {made_for}, not for either model.",
        )
    return {ready.place(places): ready}


def _no_dictionary_reason(store: Store, run: Run, config: RunConfig) -> str | None:
    found = store.rows(
        "select count(*) as n, count(relative_difference) as comparable, max(relative_difference) as largest"
        " from activation_summary where run_id = $run",
        run=run.extraction_run_id,
    )[0]
    if found["comparable"] < found["n"] and config.dictionary != "crosscoder":
        return (
            "The models have different widths, and only a crosscoder (--dictionary crosscoder) can be learned from "
            "them: layers are compared by CKA."
        )
    if found["largest"] == 0:
        return "The models' activations are identical on every text, so there is nothing to look for inside."
    return None


def _warn(store: Store, run: Run, progress: Progress, message: str) -> None:
    store.event(run.id, "analyze", "warning", message)
    progress.note(message, warning=True)
