"""The extraction of a run from two model references to a store that holds all that the analysis reads.

Base and target go chunk by chunk; sham targets follow over the same answers. Every chunk is one transaction, so a
killed run goes on at the first chunk that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import sqlalchemy as sa

from extract.answers import earlier_sources, stored_answers
from extract.chunks import committed_chunks, extract_chunk, extract_sham_chunk, sequences_of
from extract.estimate import Estimate, estimate_job
from extract.job import CHUNK_PROMPTS, Job, begin, check_same, prepare, stored_rendering
from extract.models import LoadedPair, load_pair
from extract.shams import (
    CALIBRATION_PROMPTS,
    Sham,
    ShamError,
    Yardstick,
    built_sham,
    calibrate,
    measure_pair,
    why_no_sham,
)
from extract.texts import ReadSequence, without_controls
from fi_store.config import RunConfig
from fi_store.progress import Progress, Stopwatch
from fi_store.prompts import PromptSuite
from fi_store.store import Store
from fi_store.store.tables import Run, ShamTarget

RESUMABLE = ("extracting", "failed", "interrupted")
PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def ingest(
    store: Store, config: RunConfig, suite: PromptSuite, *, progress: Progress, resume: str | None = None
) -> str:
    """Extracts a run (or goes on with one) and returns its id; its state is then `extracted`.

    Raises:
        UsageError: no prompts, or `resume` names a run of other models, prompts or options.
        ModelError: a reference that cannot be read.
        ExtractionError: it does not fit the disk or the memory, or a model gives values that are not finite.
    """
    previous = store.run(resume) if resume is not None else None
    pair = load(config, progress, previous)
    if previous is not None:
        check_same(previous, pair, config, suite)
        if previous.state not in RESUMABLE:
            progress.note(f"The extraction of {previous.id} is complete.")
            return previous.id
    job = prepare(pair, config, suite, stored_rendering(store, previous.id) if previous is not None else None)
    for message in (*pair.warnings, *job.warnings):
        progress.note(message, warning=True)
    estimate = estimate_job(job, store.folder)
    progress.note(estimate.sentence())
    estimate.refuse_excess(store.folder)
    run_id = begin(store, job) if previous is None else _reopen(store, previous.id)
    store.event(
        run_id, "extract", "estimate", estimate.sentence(), value=estimate.seconds, detail=estimate.detail()
    )
    watch = Stopwatch()
    with _state_kept(store, run_id):
        try:
            _extract_pair(store, run_id, job, progress, watch)
            _extract_shams(store, run_id, job, progress, watch)
        finally:
            for stage, seconds in watch.seconds.items():
                store.event(run_id, "extract", "timing", stage, value=seconds)
    return run_id


def estimate(config: RunConfig, suite: PromptSuite, *, progress: Progress) -> Estimate:
    """What a run would take, without running it. The models are loaded and tried on a few prompts.

    Raises:
        ExtractionError: it would not fit the disk or the memory.
    """
    job = prepare(load(config, progress, None), config, suite)
    folder = config.store_path.parent
    found = estimate_job(job, folder)
    progress.note(found.sentence())
    found.refuse_excess(folder)
    return found


def load(config: RunConfig, progress: Progress, previous: Run | None) -> LoadedPair:
    """Loads the models of a run; one that began earlier keeps the precision that was chosen then."""
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
def _state_kept(store: Store, run_id: str) -> Iterator[None]:
    """Leaves the run in a state that says how its extraction ended."""
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
        message = f"The {side}'s answers are those of run {source.run_id}."
        store.event(run_id, "extract", "choice", message)
        progress.note(message)
    with progress.task("Answering and reading", len(job.suite.prompts)) as advance:
        for number, prompts in enumerate(job.chunks):
            if number not in done:
                extract_chunk(store, run_id, job, number, sources, watch)
            advance(len(prompts))


def _extract_shams(store: Store, run_id: str, job: Job, progress: Progress, watch: Stopwatch) -> None:
    if not job.config.shams:
        return
    reason = why_no_sham(job.pair)
    if reason is not None:
        _warn(store, run_id, progress, f"No sham target: {reason}.")
        return
    yardstick = cache(lambda: measure_pair(job.pair, _calibration_sequences(store, run_id, job)))
    with progress.task("Reading sham targets", len(job.suite.prompts) * job.config.shams) as advance:
        for number in range(job.config.shams):
            pending = [at for at in range(len(job.chunks)) if at not in _sham_chunks(store, run_id, number)]
            if not pending:
                continue
            with built_sham(job.pair, job.config.seed, number) as sham:
                try:
                    with watch.stage("calibrate_sham"):
                        _set_scale(store, run_id, job, number, sham, yardstick)
                except ShamError as error:
                    _warn(store, run_id, progress, f"No sham target: {error}")
                    return
                for at in pending:
                    extract_sham_chunk(store, run_id, job, at, f"sham_{number}", sham.reader, watch)
                    advance(len(job.chunks[at]))


def _set_scale(
    store: Store, run_id: str, job: Job, number: int, sham: Sham, yardstick: Callable[[], Yardstick]
) -> None:
    """Scales a sham: as it was when the run was interrupted, or anew, from the scale of the one before it."""
    with store.session() as session:
        known = session.get(ShamTarget, (run_id, number))
        before = session.get(ShamTarget, (run_id, number - 1))
    if known is not None:
        sham.set_scale(known.scale)
        return
    found = calibrate(sham, yardstick(), before.scale if before is not None else 1.0)
    with store.session() as session:
        session.add(
            ShamTarget(
                run_id=run_id,
                number=number,
                seed=job.config.seed,
                scale=found.scale,
                relative_difference_pair=found.pair,
                relative_difference_sham=found.sham,
            )
        )


def _calibration_sequences(store: Store, run_id: str, job: Job) -> list[ReadSequence]:
    """Both answers to a few prompts, evenly spread."""
    prompts = job.suite.prompts
    count = min(CALIBRATION_PROMPTS, len(prompts))
    chosen = [at * len(prompts) // count for at in range(count)]
    sequences: list[ReadSequence] = []
    for at in chosen:
        answers = stored_answers(store, run_id, at // CHUNK_PROMPTS)
        sequences.extend(sequences_of(run_id, job, (prompts[at],), answers))
    return without_controls(sequences)


def _sham_chunks(store: Store, run_id: str, number: int) -> set[int]:
    rows = store.rows(
        "SELECT DISTINCT chunk FROM activation_shard WHERE run_id = $run AND reader = $reader",
        run=run_id,
        reader=f"sham_{number}",
    )
    return {int(row["chunk"]) for row in rows}


def _warn(store: Store, run_id: str, progress: Progress, message: str) -> None:
    progress.note(message, warning=True)
    store.event(run_id, "extract", "warning", message)
