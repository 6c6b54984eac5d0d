"""Runs an extraction: from two model references to a store that contains everything the analysis reads.

Base and target answer and read chunk by chunk. Every chunk is one transaction, so a killed run resumes at the first
missing chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from extract.answers import answers_to, earlier_sources, remarks_on_answers
from extract.attribution import decide_attribution
from extract.chunks import committed_chunks, extract_chunk
from extract.estimate import Estimate, estimate_job
from extract.job import (
    Job,
    begin,
    check_configured,
    check_same,
    prepare,
    stored_attribution,
    stored_check,
    stored_rendering,
)
from extract.models import LoadedPair, load_pair
from fi_store.config import RunConfig
from fi_store.progress import Progress, Stopwatch
from fi_store.prompts import PromptSuite
from fi_store.store import Store
from fi_store.store.tables import Run
from fi_store.threads import high_load

RESUMABLE = ("extracting", "failed", "interrupted")
PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
"""torch's name of a type -> fi-store's name."""


def ingest(
    store: Store, config: RunConfig, suite: PromptSuite, *, progress: Progress, resume: str | None = None
) -> str:
    """Extracts a new run, or resumes one, and returns its id. Its state is then `extracted`.

    Raises:
        UsageError: there are no prompts, or the run `resume` has other models, prompts or options.
        ModelError: a reference cannot be read.
        ExtractionError: disk or memory is too small, or a model produces values that are not finite.
    """
    previous = store.run(resume) if resume is not None else None
    _say_load(progress)
    pair = load(config, progress, previous)
    if previous is not None:
        check_same(previous, pair, config, suite)
        if previous.state not in RESUMABLE:
            progress.note(f"The extraction of {previous.id} is already complete.")
            return previous.id
    if previous is None:
        job = prepare(pair, config, suite)
        attribution = decide_attribution(job)
    else:
        rendering, check = stored_rendering(store, previous.id), stored_check(store, previous.id)
        job = prepare(pair, config, suite, rendering, check)
        check_configured(store, previous.id, job)
        attribution = stored_attribution(store, previous.id)
    job = replace(job, attribution=attribution)
    estimate = _estimated(job, store.folder, progress)
    progress.note(estimate.sentence())
    run_id = begin(store, job) if previous is None else _reopen(store, previous.id)
    store.event(
        run_id, "extract", "estimate", estimate.sentence(), value=estimate.seconds, detail=estimate.detail()
    )
    watch = Stopwatch()
    with _state_recorded(store, run_id):
        try:
            _extract_pair(store, run_id, job, progress, watch)
        finally:
            for stage, seconds in watch.seconds.items():
                store.event(run_id, "extract", "timing", stage, value=seconds)
    return run_id


def estimate(config: RunConfig, suite: PromptSuite, *, progress: Progress) -> Estimate:
    """Estimates what a run needs without running it. The models are loaded and tried on a few prompts.

    Raises:
        ExtractionError: disk or memory is too small.
    """
    _say_load(progress)
    job = prepare(load(config, progress, None), config, suite)
    job = replace(job, attribution=decide_attribution(job))
    return _estimated(job, config.store_path.parent, progress)


def _estimated(job: Job, folder: Path, progress: Progress) -> Estimate:
    """Says what was decided and what the run needs, and refuses what does not fit."""
    progress.note(job.attribution.reason, warning=job.attribution.failed)
    progress.note(job.rendering.reason)
    progress.note(job.check.reason)
    for message in (*job.pair.warnings, *job.warnings):
        progress.note(message, warning=True)
    estimate = estimate_job(job, folder)
    estimate.refuse_excess(folder)
    return estimate


def _say_load(progress: Progress) -> None:
    """Notes that the machine is busy, before this process makes it so."""
    busy = high_load()
    if busy is not None:
        progress.note(f"{busy[0].upper()}{busy[1:]}.", warning=True)


def load(config: RunConfig, progress: Progress, previous: Run | None) -> LoadedPair:
    """Loads the models of a run. A run that began earlier keeps the precision that was chosen then."""
    with progress.task("Loading the models"):
        return load_pair(
            config.base_model,
            config.target_model,
            device=config.device,
            quantization=config.quantization,
            compute=None if previous is None else PRECISIONS[previous.dtype],
            cache_dir=config.cache_dir,
            trust_remote_code=config.trust_remote_code,
            note=progress.note,
        )


def _reopen(store: Store, run_id: str) -> str:
    store.set_state(run_id, "extracting", "extract")
    with store.session() as session:
        session.execute(sa.update(Run).where(Run.id == run_id).values(finished_at=None))
    return run_id


@contextmanager
def _state_recorded(store: Store, run_id: str) -> Iterator[None]:
    """Sets the state of the run to how its extraction ended."""
    state = "failed"
    try:
        yield
        state = "extracted"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        store.set_state(run_id, state, "extract")


def _extract_pair(store: Store, run_id: str, job: Job, progress: Progress, watch: Stopwatch) -> None:
    done = committed_chunks(store, run_id)
    sources = earlier_sources(store, run_id, job) if len(done) < len(job.chunks) else {}
    for side, source in sources.items():
        message = f"The {side}'s answers come from run {source.run_id}."
        store.event(run_id, "extract", "choice", message)
        progress.note(message)
    with progress.task("Answering and reading", len(job.suite.prompts)) as advance:
        for number, prompts in enumerate(job.chunks):
            if number not in done:
                with watch.stage("answer"):
                    answers = answers_to(store, job, number, sources)
                extract_chunk(store, run_id, job, number, answers, watch)
            advance(len(prompts))
    for message in remarks_on_answers(store, run_id, job):
        store.event(run_id, "extract", "warning", message)
        progress.note(message, warning=True)
