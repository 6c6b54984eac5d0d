"""The analysis of one run: similarity, gate 0, dictionaries, groups, one test on C, names, results.

Everything is read from the store and the shards it lists, and everything that is concluded goes back in one
transaction. Choices are made on D; what was chosen is written down before C is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from analyze import write
from analyze.basis import basis_warning
from analyze.behaviour import load_answers
from analyze.concepts import Bank, ConceptContexts
from analyze.crosscoder_file import read_crosscoder_file
from analyze.dictionaries.fit import fit_dictionary
from analyze.dictionaries.training import FitOptions
from analyze.effects import LayerEffects, measure_effects
from analyze.findings import Tested, describe, ordered, test_groups
from analyze.groups import make_groups
from analyze.keys import dictionary_folder
from analyze.pair_gate import pair_gate, smallest_detectable
from analyze.promoted import change_at_tokens, spoken_direction
from analyze.rows import Extraction, load_extraction
from analyze.sham_runs import run_shams
from analyze.similarity import write_similarity
from analyze.words import find_words
from fi_store.config import METHOD, RunConfig, Site
from fi_store.errors import AnalysisError
from fi_store.layers import choose_layers
from fi_store.progress import Progress
from fi_store.schema import Model, Run
from fi_store.store import Store


@dataclass(frozen=True)
class Fitted:
    """The dictionaries of a run with their effects, and the activations that they were measured on."""

    layers: list[LayerEffects]
    residuals: dict[tuple[str, int], torch.Tensor]  # (reader, index into `layers`) -> (N, d)


def analyze(store: Store, run_id: str, *, progress: Progress) -> None:
    """Analyses an extracted run; repeating it replaces its results and counts the reopening of C.

    Raises:
        AnalysisError: the extraction is unfinished, incomplete or holds numbers that the method refuses.
    """
    run = store.run(run_id)
    config = RunConfig(**run.config)
    if not store.rows(
        "select 1 from run_event where run_id = $run and kind = 'state' and message = 'extracted' limit 1",
        run=run.extraction_run_id,
    ):
        raise AnalysisError(
            f"The extraction of run {run.id} is not finished.", hint=f"fi-store ingest --resume {run.id}"
        )
    with _state(store, run):
        with progress.task("reading the extraction"):
            extraction = load_extraction(store, run)
            _refuse_too_few(extraction)
        with progress.task("layer similarity"):
            write_similarity(store, run.id)
            if config.crosscoder_file is not None:
                write.outside_similarity(store, run.id, read_crosscoder_file(config.crosscoder_file))
        fitted = _fit_all(store, run, config, extraction, progress)
        _conclude(store, run, config, extraction, fitted, progress)
        for label, seconds in progress.seconds.items():
            store.event(run.id, "analyze", "timing", label, value=seconds)


@contextmanager
def _state(store: Store, run: Run) -> Iterator[None]:
    store.set_state(run.id, "analyzing", "analyze")
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        store.event(run.id, "analyze", "warning", str(error) or type(error).__name__)
        store.set_state(run.id, "interrupted" if interrupted else "failed", "analyze")
        raise
    store.set_state(run.id, "analyzed", "analyze")


def _refuse_too_few(extraction: Extraction) -> None:
    """Fewer than two prompt families in a half leave nothing to compare."""
    units = extraction.units
    for half, chosen in (("discovery", units.discovery), ("confirmation", ~units.discovery)):
        families = len(set(units.clusters[chosen].tolist()))
        if families < 2:
            raise AnalysisError(
                f"The {half} half has {families} prompt families; at least 2 are needed.",
                hint="use more prompts",
            )


def _fit_all(store: Store, run: Run, config: RunConfig, extraction: Extraction, progress: Progress) -> Fitted:
    """One dictionary per site and analysed layer; none for identical or incomparable models."""
    reason = _no_dictionary_reason(store, run, config)
    if reason is not None:
        store.event(run.id, "analyze", "warning", reason)
        progress.note(reason, warning=True)
        return Fitted([], {})
    with store.session() as unit:
        n_layers = min(unit.get_one(Model, m).n_layers for m in (run.base_model_id, run.target_model_id))
    chosen = choose_layers(config.layers, n_layers)
    effects: list[LayerEffects] = []
    residuals: dict[tuple[str, int], torch.Tensor] = {}
    places = [(site, layer) for site in config.sites for layer in chosen]
    with progress.task("learning dictionaries", len(places) * config.dictionary_steps) as advance:
        for site, layer in places:
            activations = {r: extraction.activations(r, site, layer) for r in extraction.readers}
            fitted = _fit_one(run, config, extraction, activations, (site, layer), advance)
            for reader in ("base", "target"):
                residuals[reader, len(effects)] = activations[reader]
            effects.append(fitted)
            fitted.dictionary.save(dictionary_folder(store, run.id, site, layer))
    return Fitted(effects, residuals)


def _fit_one(
    run: Run,
    config: RunConfig,
    extraction: Extraction,
    activations: dict[str, torch.Tensor],
    place: tuple[Site, int],
    advance: Callable[[int], None],
) -> LayerEffects:
    first, second = ("base", "target") if run.canonical_first == "base" else ("target", "base")
    train = torch.from_numpy(extraction.rows.discovery)
    options = FitOptions(
        site=place[0],
        layer=place[1],
        n_latents=config.n_latents,
        k=config.k,
        steps=config.dictionary_steps,
        batch=config.dictionary_batch,
        seed=config.seed,
    )
    rows = activations[first][train], activations[second][train]
    classes = torch.from_numpy(extraction.rows.position_class)[train]
    dictionary = fit_dictionary(config.dictionary, rows, classes, options, advance)
    return measure_effects(extraction, dictionary, activations, first, config.feature_threshold)


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


def _conclude(
    store: Store, run: Run, config: RunConfig, extraction: Extraction, fitted: Fitted, progress: Progress
) -> None:
    """Candidates on D, the plan, one opening of C, and the results."""
    layers = fitted.layers
    with progress.task("grouping features"):
        words = find_words(extraction)
        groups = make_groups(layers, extraction) if layers else []
        groups = [
            replace(g, direction=spoken_direction(g, extraction, words, change_at_tokens(g, layers)))
            for g in groups
        ]
        selected = groups[: config.candidates]
    n_c = len(set(extraction.units.clusters[~extraction.units.discovery].tolist()))
    detectable = smallest_detectable(n_c, max(1, len(selected)), config.alpha, 0.8)
    write.plan(store, run, config, extraction, layers, selected, detectable)
    with progress.task("testing on the confirmation half"):
        gate = pair_gate(store, run.id)
        if (turned := basis_warning(store, run.id, gate)) is not None:
            store.event(run.id, "analyze", "warning", turned)
            progress.note(turned, warning=True)
        tested: list[Tested] = test_groups(selected, layers, extraction, config.seed)
    with progress.task("naming and describing", len(tested)) as advance:
        contexts, answers, bank = ConceptContexts(extraction), load_answers(extraction), Bank()
        share = sum(item.confirmed(config.alpha) for item in tested) / max(1, len(tested))
        described = []
        for item in tested:
            if item.confirmed(config.alpha):
                naming = not config.skip_naming
                described.append(
                    describe(
                        item,
                        layers,
                        extraction,
                        fitted.residuals,
                        contexts,
                        words,
                        answers,
                        bank,
                        seed=config.seed,
                        naming=naming,
                        confirmed_share=share,
                    )
                )
            advance(1)
    with progress.task("searching the shams"):
        shams = run_shams(
            layers,
            extraction,
            "base" if run.canonical_first == "base" else "target",
            candidates=config.candidates,
            alpha=config.alpha,
            minimum_floor=config.feature_threshold,
            seed=config.seed,
        )
    with progress.task("writing results"):
        found = write.Conclusions(groups, tested, ordered(described)[: METHOD.max_results], gate, shams)
        write.results(store, run, config, extraction, layers, found)
