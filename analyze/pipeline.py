"""The analysis of one run: grades, similarity, dictionaries, behaviors, groups, one test on C, names, results.

It reads the store and the shards that the store lists, and writes its conclusions back in one transaction. Choices are
made on D and written down before C is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from analyze.behaviors import answers_of, choose_behaviors, confirm_behaviors
from analyze.extraction import Extraction, load_extraction
from analyze.features import layers_with_scaling
from analyze.findings import confirm_groups, describe, ordered
from analyze.fitting import Fitted, fit_all, warn
from analyze.groups import choose_scopes, make_groups, recurrences
from analyze.names import Bank, ConceptContexts, find_words, with_naming_directions
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
from fi_store.prompts import load_concepts
from fi_store.store import Store
from fi_store.store.tables import PairGate, Run
from fi_store.wording import count


def analyze(store: Store, run_id: str, *, progress: Progress) -> None:
    """Analyzes an extracted run; repeating it replaces its results and counts the reopening of C.

    Raises:
        AnalysisError: the extraction is unfinished or incomplete, or holds numbers that the method refuses.
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
            for name in extraction.units.thin_categories:
                warn(store, run, progress, f"Category {name} has only one prompt and is not compared.")
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
    """Records the run's state: analyzing, then analyzed, interrupted or failed."""
    store.set_state(run.id, "analyzing", "analyze")
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        store.event(run.id, "analyze", "warning", str(error) or type(error).__name__)
        store.set_state(run.id, "interrupted" if interrupted else "failed", "analyze")
        raise
    store.set_state(run.id, "analyzed", "analyze")


def _conclude(
    store: Store, run: Run, config: RunConfig, extraction: Extraction, fitted: Fitted, progress: Progress
) -> None:
    """Candidates on D, the plan, one opening of C, and the results."""
    layers = fitted.layers
    with progress.task("comparing the answers"):
        answers = answers_of(extraction.units)
        on_d, on_c = (
            answers.within(half) for half in (extraction.units.discovery, ~extraction.units.discovery)
        )
        differences = choose_behaviors(on_d, load_concepts(), config.alpha)
    with progress.task("grouping features"):
        groups = make_groups(layers, extraction) if layers else []
        words, contexts = find_words(extraction), ConceptContexts(extraction)
        candidates = with_naming_directions(groups[: config.candidates], layers, extraction, words)
        groups[: config.candidates] = candidates
        scopes = choose_scopes(candidates, layers, extraction)
    n_clusters = len(set(extraction.units.clusters[~extraction.units.discovery].tolist()))
    detectable = smallest_detectable(n_clusters, max(1, len(candidates)), config.alpha, 0.8)
    write_plan(store, run, config, extraction, layers, candidates, scopes, differences, detectable)
    with progress.task("comparing the prompts"):
        write_discrimination(store, run)
    with progress.task("testing on the confirmation half"):
        gate = _pair_gate(store, run, progress)
        behaviors = confirm_behaviors(differences, on_d, on_c, config.alpha)
        if answers.skipped:
            slow = count(len(answers.skipped), "search", "searches")
            warn(
                store, run, progress, f"{slow} of an answer for a form took too long; it counts as not found."
            )
        layers = layers_with_scaling(layers, fitted.residuals.rows, extraction, config.seed)
        tested = confirm_groups(candidates, scopes, layers, extraction, config.seed)
    with progress.task("naming and describing", len(tested)) as advance:
        described = []
        bank = Bank()
        confirmed_share = sum(item.confirmed(config.alpha) for item in tested) / max(1, len(tested))
        for item in tested:
            if item.confirmed(config.alpha):
                result = describe(
                    *(item, layers, extraction, fitted.residuals, contexts, words, bank),
                    seed=config.seed,
                    naming=not config.skip_naming,
                    confirmed_share=confirmed_share,
                )
                described.append(result)
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
        conclusions = Conclusions(groups, tested, results, behaviors, gate, shams, recurring, config.alpha)
        write_results(store, run, config, extraction, layers, conclusions)


def _pair_gate(store: Store, run: Run, progress: Progress) -> PairGate:
    """Gate 0, with a warning if the pair seems to compute the same in another basis."""
    gate = pair_gate(store, run.id)
    turned = basis_warning(store, run.id, gate)
    if turned is not None:
        warn(store, run, progress, turned)
    return gate
