"""The analysis of one run: grades, similarity, dictionaries, behaviors, groups, the causal test, names, findings.

It reads the store and the shards that the store lists, and writes its conclusions back in one transaction. Choices are
made on D and written down before C is opened. Models run only through requests in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from analyze.behaviors import Behavior, answers_of, choose_behaviors, confirm_behaviors
from analyze.causal import CausalPlan, Change, Probes, Tests, measure_gap
from analyze.causes import CausalTest
from analyze.extraction import Extraction, load_extraction, token_texts
from analyze.features import LayerEffects, layers_with_scaling
from analyze.findings import Describer, Finding, explained_share, ordered
from analyze.fitting import Fitted, fit_all, warn
from analyze.groups import make_groups, measure_movement, recurrences
from analyze.names import ConceptContexts, concept_predicates, find_words
from analyze.pair import (
    basis_warning,
    pair_gate,
    read_crosscoder_file,
    smallest_detectable,
    write_discrimination,
    write_grades,
    write_similarity,
)
from analyze.proposals import propose_names
from analyze.write import Conclusions, write_outside_similarity, write_plan, write_results
from fi_store.config import RunConfig
from fi_store.errors import AnalysisError
from fi_store.naming import Propose
from fi_store.progress import Progress
from fi_store.prompts import load_concepts
from fi_store.store import Store
from fi_store.store.tables import PairGate, Run
from fi_store.vocabulary import DIFFERENT, NO_DIFFERENCE, VERDICTS
from fi_store.wording import count


def analyze(
    store: Store, run_id: str, *, ask: Callable[[], None], propose: Propose | None, progress: Progress
) -> None:
    """Analyzes an extracted run; repeating it replaces its results and counts the reopening of C.

    `ask` lets the models answer the run's open requests in the store; an analysis that was killed finds the answers
    that it had. `propose` asks a language model for names of findings; None: they keep their own.

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
            f"The extraction of run {run.id} is not finished.",
            hint=store.command("ingest", "--resume", run.id),
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
        _conclude(store, run, config, extraction, fitted, ask, propose, progress)
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
    store: Store,
    run: Run,
    config: RunConfig,
    extraction: Extraction,
    fitted: Fitted,
    ask: Callable[[], None],
    propose: Propose | None,
    progress: Progress,
) -> None:
    """Behaviors, groups and changes on D, the plan, one opening of C, and the findings."""
    units = extraction.units
    with progress.task("comparing the answers"):
        answers = answers_of(units)
        on_d, on_c = (answers.within(half) for half in (units.discovery, ~units.discovery))
        candidates = choose_behaviors(on_d, load_concepts(), config.alpha)
    gap, probes = measure_gap(extraction), Probes(store, run.id, extraction, ask)
    test = CausalTest(run.id, config, extraction, fitted, gap, candidates, answers, probes)
    with progress.task("grouping features"):
        obstacle = test.obstacle()
    changes: list[Change] = []
    plan = None
    if obstacle is None:
        changes, plan, obstacle = _planned(test, progress)
    n_tests = max(1, 2 * len(plan.changes)) if plan is not None else 1
    n_clusters = len(set(units.clusters[~units.discovery].tolist()))
    detectable = smallest_detectable(n_clusters, n_tests, config.alpha, 0.8)
    write_plan(store, run, config, extraction, fitted.layers, plan, obstacle, candidates, detectable)
    with progress.task("comparing the prompts"):
        write_discrimination(store, run)
    with progress.task("testing on the confirmation half"):
        gate = _pair_gate(store, run, progress)
        behaviors = confirm_behaviors(candidates, on_d, on_c, config.alpha)
        different = gate.verdict == DIFFERENT or any(found.confirmed(config.alpha) for found in behaviors)
        if plan is not None and not different:
            plan, obstacle = None, VERDICTS[NO_DIFFERENCE]
        layers = layers_with_scaling(fitted.layers, fitted.residuals.rows, extraction, config.seed)
        moved = measure_movement(test.groups[: config.candidates], extraction, config.seed)
    tests = None
    if plan is not None:
        with progress.task("testing causes by patches"):
            tests = test.confirm(plan)
    findings = _describe(store, run, test, layers, tests, behaviors, propose, progress)
    if reason := obstacle or probes.problem:
        store.event(run.id, "analyze", "warning" if probes.problem else "choice", reason)
        progress.note(reason, warning=probes.problem is not None)
    if answers.skipped:
        slow = count(len(answers.skipped), "search", "searches")
        warn(store, run, progress, f"{slow} of an answer for a form took too long; it counts as not found.")
    with progress.task("writing results"):
        others = [make_groups(run.id, again, extraction, test.gaps) for again in fitted.others]
        conclusions = Conclusions(
            gate=gate,
            behaviors=behaviors,
            groups=test.groups,
            changes=changes,
            moved=moved,
            tests=tests,
            findings=findings,
            recurrences=recurrences(test.groups, others),
            explained=explained_share(tests, len(findings)) if tests is not None else None,
        )
        write_results(store, run, extraction, layers, conclusions, config.alpha)
        probes.forget_others()


def _planned(test: CausalTest, progress: Progress) -> tuple[list[Change], CausalPlan | None, str | None]:
    """The changes on D and the plan for C, or why there is none."""
    with progress.task("patching groups of features"):
        changes = test.changes()
    plan = test.plan(changes)
    if plan.changes or test.probes.problem is not None:
        return changes, plan, None
    return changes, None, "No change of features holds enough of the difference on D to be tested on C."


def _describe(
    store: Store,
    run: Run,
    test: CausalTest,
    layers: Sequence[LayerEffects],
    tests: Tests | None,
    behaviors: Sequence[Behavior],
    propose: Propose | None,
    progress: Progress,
) -> list[Finding]:
    """The findings in the order in which they are told, with rates in answers under their patches."""
    if tests is None or not tests.findings:
        return []
    config, extraction = test.config, test.extraction
    told = ordered(tests, config.feature_threshold)
    with progress.task("answering under patches"):
        generated = test.generate([tested for tested, _ in told], behaviors, tests)
    with progress.task("naming and describing", len(told)) as advance:
        text = token_texts(store, run.extraction_run_id)  # with what the patches push, which is in no text
        describer = Describer(
            tests=tests,
            behaviors=behaviors,
            extraction=extraction,
            residuals=test.fitted.residuals,
            layers=layers,
            words=find_words(extraction, text),
            contexts=ConceptContexts(extraction),
            predicates=concept_predicates(load_concepts()),
            config=config,
        )
        findings = []
        for tested, repeats in told:
            leader = tested.planned.change.leader.id
            findings.append(describer.describe(tested, repeats, generated.get(leader)))
            advance(1)
    if propose is None:
        return findings
    with progress.task("asking a model for names"):
        say = partial(warn, store, run, progress)
        return propose_names(findings, describer, test.answers, propose, say)


def _pair_gate(store: Store, run: Run, progress: Progress) -> PairGate:
    """Gate 0, with a warning if the pair seems to compute the same in another basis."""
    gate = pair_gate(store, run.id)
    turned = basis_warning(store, run.id, gate)
    if turned is not None:
        warn(store, run, progress, turned)
    return gate
