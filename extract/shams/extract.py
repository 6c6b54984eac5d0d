"""Reads the sham targets of a run: builds each, scales it to the pair, and lets it read the answers, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from extract.answers import stored_answers
from extract.chunks import next_row, sequences_of, written
from extract.job import CHUNK_PROMPTS, Job
from extract.reading import Readable, full_disk_explained, read_alone, write_shards
from extract.shams.sham import (
    CALIBRATION_PROMPTS,
    Sham,
    ShamError,
    Yardstick,
    built_sham,
    calibrate,
    measure_pair,
    why_no_sham,
)
from extract.texts import ReadSequence
from fi_store.progress import Progress, Stopwatch
from fi_store.store import Store
from fi_store.store.tables import ShamTarget


def extract_shams(store: Store, run_id: str, job: Job, progress: Progress, watch: Stopwatch) -> None:
    """Lets every sham target that is not complete yet read the answers of all chunks."""
    if not job.config.shams:
        return
    reason = why_no_sham(job.pair)
    if reason is not None:
        _warn(store, run_id, progress, f"No sham target: {reason}.")
        return
    yardstick = cache(lambda: measure_pair(job.pair, _calibration_sequences(store, run_id, job)))
    with progress.task("Reading sham targets", len(job.suite.prompts) * job.config.shams) as advance:
        for number in range(job.config.shams):
            done = _sham_chunks(store, run_id, number)
            pending = [chunk for chunk in range(len(job.chunks)) if chunk not in done]
            if not pending:
                continue
            with built_sham(job.pair, job.config.seed, number) as sham:
                try:
                    with watch.stage("calibrate_sham"):
                        _set_scale(store, run_id, job, number, sham, yardstick)
                except ShamError as error:
                    _warn(store, run_id, progress, f"No sham target: {error}")
                    return
                for chunk in pending:
                    _extract_chunk(store, run_id, job, chunk, f"sham_{number}", sham.reader, watch)
                    advance(len(job.chunks[chunk]))


def _set_scale(
    store: Store, run_id: str, job: Job, number: int, sham: Sham, yardstick: Callable[[], Yardstick]
) -> None:
    """Scales a sham: to its stored scale if the run was interrupted, or by a search from the previous sham's scale."""
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
    """Both answers to a few prompts, spread evenly over the set."""
    prompts = job.suite.prompts
    count = min(CALIBRATION_PROMPTS, len(prompts))
    sequences: list[ReadSequence] = []
    for index in (number * len(prompts) // count for number in range(count)):
        answers = stored_answers(store, run_id, index // CHUNK_PROMPTS)
        sequences.extend(sequences_of(run_id, job, (prompts[index],), answers, controls=False))
    return sequences


def _sham_chunks(store: Store, run_id: str, number: int) -> set[int]:
    """The chunks that a sham has read."""
    rows = store.rows(
        "SELECT DISTINCT chunk FROM activation_shard WHERE run_id = $run AND reader = $reader",
        run=run_id,
        reader=f"sham_{number}",
    )
    return {int(row["chunk"]) for row in rows}


def _extract_chunk(
    store: Store, run_id: str, job: Job, number: int, name: str, reader: Readable, watch: Stopwatch
) -> None:
    """Lets a sham target read the answers of a chunk as both models did, and commits its shards."""
    answers = stored_answers(store, run_id, number)
    sequences = sequences_of(run_id, job, job.chunks[number], answers, controls=False)
    with watch.stage("read_sham"):
        activations = read_alone(reader, job.first, sequences, job.config.sites, job.pair.device)
    with watch.stage("write"):
        first_row = next_row(store, run_id, number, controls=False)
        shards = write_shards(store.folder, run_id, name, number, first_row, written(job, activations))
        with full_disk_explained(store.folder, run_id), store.session() as session:
            session.add_all(shards)


def _warn(store: Store, run_id: str, progress: Progress, message: str) -> None:
    progress.note(message, warning=True)
    store.event(run_id, "extract", "warning", message)
