"""The probe stage: runs the models again for the analysis's requests in the store, and writes the answers there."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from extract.job import Job, check_same, prepare, stored_rendering
from extract.pipeline import load
from extract.probes.splice import SplicedLoss, SpliceRequest, splice_losses
from extract.reading import batch_sequences
from extract.texts import FIRST_CLASSES, ReadSequence, build_sequence
from fi_store.config import RunConfig
from fi_store.dictionaries import load_dictionary
from fi_store.errors import UsageError
from fi_store.progress import Progress
from fi_store.prompts import suite_from_store
from fi_store.store import Store, append_event
from fi_store.store.tables import Intervention, ProbeRequest
from fi_store.vocabulary import SIDES, Side


class Probed(NamedTuple):
    """How many requests were answered, and how many failed because a loss was not finite."""

    answered: int
    failed: int


def answer_probes(store: Store, run_id: str, *, progress: Progress) -> Probed:
    """Answers the open requests of an analyzed run in one transaction. A failed request leaves a warning.

    Raises:
        UsageError: the run is not analyzed, or a model is not the same as in the run.
        ModelError: a model can no longer be read.
        AnalysisError: a dictionary can no longer be read.
        NotFiniteError: a model produces values that are not finite.
    """
    run = store.run(run_id)
    if run.state not in ("analyzed", "complete"):
        raise UsageError(
            f"The run {run_id} is {run.state}. It has no requests before its analysis is done.",
            hint=f"fi-store analyze {run_id}",
        )
    requests = _open_requests(store, run_id)
    if not requests:
        return Probed(0, 0)
    config, suite = RunConfig(**run.config), suite_from_store(store, run.prompt_set_id)
    pair = load(config, progress, run)
    check_same(
        run,
        pair,
        config,
        suite,
        action="be probed",
        hint="compare the current models in a new run: fi-store run",
    )
    job = prepare(pair, config, suite, stored_rendering(store, run.extraction_run_id))
    prompt_ids = frozenset[str]().union(*(request.prompt_ids for request in requests))
    losses: list[SplicedLoss] = []
    failed: dict[str, str] = {}  # request -> the reason
    with progress.task("splicing in reconstructions", len(SIDES)) as advance:
        for side in SIDES:
            for batch in batch_sequences(_own_texts(store, run.extraction_run_id, job, side, prompt_ids)):
                remaining = [request for request in requests if request.id not in failed]
                losses.extend(splice_losses(job, side, batch, remaining, failed))
            advance(1)
    with store.session() as session:
        session.add_all(
            Intervention(run_id=run_id, **loss._asdict()) for loss in losses if loss.request_id not in failed
        )
        for request in requests:
            state = "failed" if request.id in failed else "answered"
            session.execute(sa.update(ProbeRequest).where(ProbeRequest.id == request.id).values(state=state))
        append_event(session, run_id, "probe", "state", "probed")  # the run stays analyzed
        for message in failed.values():
            append_event(session, run_id, "probe", "warning", message)
    for message in failed.values():
        progress.note(message, warning=True)
    return Probed(len(requests) - len(failed), len(failed))


def _open_requests(store: Store, run_id: str) -> list[SpliceRequest]:
    rows = store.rows(
        "SELECT r.id, r.prompt_ids, d.path FROM probe_request AS r JOIN dictionary AS d ON d.id = r.dictionary_id"
        " WHERE r.run_id = $run AND r.state = 'asked' AND r.kind = 'splice' ORDER BY d.site, d.layer",
        run=run_id,
    )
    return [
        SpliceRequest(row["id"], load_dictionary(store.folder / row["path"]), frozenset(row["prompt_ids"]))
        for row in rows
    ]


def _own_texts(
    store: Store, extraction_run_id: str, job: Job, side: Side, prompt_ids: frozenset[str]
) -> list[ReadSequence]:
    """The prompts with the model's own answers. All positions of user text and answers are kept."""
    rows = store.rows(
        "SELECT prompt_id, text FROM generation WHERE run_id = $run AND author = $side",
        run=extraction_run_id,
        side=side,
    )
    answers = {row["prompt_id"]: row["text"] for row in rows}
    return [
        build_sequence(
            extraction_run_id,
            prompt,
            job.rendering.render(prompt.text),
            side,
            answers[prompt.id],
            FIRST_CLASSES,
            job.tokenizers,
        )
        for prompt in job.suite.prompts
        if prompt.id in prompt_ids
    ]
