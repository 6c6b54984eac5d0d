"""The analysis of one run: grades, similarity, gate 0, dictionaries, groups, one test on C, names, results.

Everything is read from the store and the shards it lists, and everything that is concluded goes back in one
transaction. Choices are made on D; what was chosen is written down before C is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from analyze.extraction import Extraction, load_extraction
from analyze.findings import Tested, confirm_groups, describe, ordered
from analyze.fitting import Fitted, fit_all
from analyze.groups import make_groups, recurrences
from analyze.names import Bank, ConceptContexts, change_at_tokens, find_words, spoken_direction
from analyze.pair import (
    basis_warning,
    pair_gate,
    read_crosscoder_file,
    smallest_detectable,
    write_discrimination,
    write_grades,
    write_similarity,
)
from analyze.sham_runs import run_shams
from analyze.write import Conclusions, write_outside_similarity, write_plan, write_results
from fi_store.config import RunConfig
from fi_store.errors import AnalysisError
from fi_store.method import METHOD
from fi_store.progress import Progress
from fi_store.store import Store
from fi_store.store.tables import Run


def analyze(store: Store, run_id: str, *, progress: Progress) -> None:
    """Analyzes an extracted run; repeating it replaces its results and counts the reopening of C.

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
            _tell_thin_categories(store, run, extraction, progress)
        with progress.task("grading the answers"):
            write_grades(store, run)
        with progress.task("layer similarity"):
            write_similarity(store, run.id)
            if config.crosscoder_file is not None:
                write_outside_similarity(store, run.id, read_crosscoder_file(config.crosscoder_file))
        fitted = fit_all(store, run, config, extraction, progress)
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


def _tell_thin_categories(store: Store, run: Run, extraction: Extraction, progress: Progress) -> None:
    """Says which categories have too few prompts to be compared with the rest."""
    names, counts = np.unique(extraction.units.categories, return_counts=True)
    thin = [str(name) for name, count in zip(names, counts, strict=True) if count == 1]
    if thin and len(names) > 1:
        message = f"Nothing can be said about categories with one prompt: {', '.join(thin)}."
        store.event(run.id, "analyze", "warning", message)
        progress.note(message, warning=True)


def _conclude(
    store: Store, run: Run, config: RunConfig, extraction: Extraction, fitted: Fitted, progress: Progress
) -> None:
    """Candidates on D, the plan, one opening of C, and the results."""
    layers = fitted.layers
    with progress.task("grouping features"):
        words = find_words(extraction)
        groups = make_groups(layers, extraction) if layers else []
        selected = [
            replace(g, direction=spoken_direction(g, extraction, words, change_at_tokens(g, layers)))
            for g in groups[: config.candidates]
        ]
        groups[: config.candidates] = selected
    n_c = len(set(extraction.units.clusters[~extraction.units.discovery].tolist()))
    detectable = smallest_detectable(n_c, max(1, len(selected)), config.alpha, 0.8)
    write_plan(store, run, config, extraction, layers, selected, detectable)
    with progress.task("telling the prompts apart"):
        write_discrimination(store, run)
    with progress.task("testing on the confirmation half"):
        gate = pair_gate(store, run.id)
        if (turned := basis_warning(store, run.id, gate)) is not None:
            store.event(run.id, "analyze", "warning", turned)
            progress.note(turned, warning=True)
        layers = fitted.with_scaling(extraction, config.seed)
        tested: list[Tested] = confirm_groups(selected, layers, extraction, config.seed)
    with progress.task("naming and describing", len(tested)) as advance:
        contexts, bank = ConceptContexts(extraction), Bank()
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
        recurring = recurrences(groups, layers, fitted.others)
        results = ordered(described, recurring)[: METHOD.max_results]
        found = Conclusions(groups, tested, results, gate, shams, recurring)
        write_results(store, run, config, extraction, layers, found)
