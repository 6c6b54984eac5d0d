"""The probe stage: runs the models again for the analysis's requests in the store, and writes the answers there.

Spliced loss: a dictionary's reconstruction replaces a site's activations at every kept position while the model reads
its own answer. It is compared with the loss of the unchanged model and with zeros at the same positions, as in the
"loss recovered" of Rajamanoharan et al. 2024 ("Improving dictionary learning with gated sparse autoencoders").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa
import torch
from torch import Tensor

from extract.job import Job, check_same, prepare, stored_rendering
from extract.pipeline import load
from extract.reading import NotFiniteError, SequenceBatch, Splice, batch_sequences, read_batch
from extract.texts import FIRST_CLASSES, ReadSequence, build_sequence
from fi_store.config import RunConfig
from fi_store.dictionaries import Dictionary, load_dictionary
from fi_store.errors import UsageError
from fi_store.progress import Progress
from fi_store.prompts import suite_from_store
from fi_store.store import Store, append_event
from fi_store.store.tables import Intervention, ProbeRequest
from fi_store.vocabulary import POSITION_CLASSES, SIDES, Side


@dataclass(frozen=True)
class _Request:
    """A request to splice in the reconstruction of a dictionary on some prompts."""

    id: str
    dictionary: Dictionary
    prompt_ids: frozenset[str]


class _Loss(NamedTuple):
    """The mean -log p of an answer's tokens, in nats."""

    request_id: str
    reader: Side
    prompt_id: str
    arm: str
    n_tokens: int
    loss: float


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
    losses: list[_Loss] = []
    failed: dict[str, str] = {}  # request -> the reason
    with progress.task("splicing in reconstructions", len(SIDES)) as advance:
        for side in SIDES:
            for batch in batch_sequences(_own_texts(store, run.extraction_run_id, job, side, prompt_ids)):
                remaining = [request for request in requests if request.id not in failed]
                losses.extend(_splice_losses(job, side, batch, remaining, failed))
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


def _open_requests(store: Store, run_id: str) -> list[_Request]:
    rows = store.rows(
        "SELECT r.id, r.prompt_ids, d.path FROM probe_request AS r JOIN dictionary AS d ON d.id = r.dictionary_id"
        " WHERE r.run_id = $run AND r.state = 'asked' AND r.kind = 'splice' ORDER BY d.site, d.layer",
        run=run_id,
    )
    return [
        _Request(row["id"], load_dictionary(store.folder / row["path"]), frozenset(row["prompt_ids"]))
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


def _splice_losses(
    job: Job, side: Side, batch: SequenceBatch, requests: Sequence[_Request], failed: dict[str, str]
) -> Iterator[_Loss]:
    """One model's loss in every arm on one batch. Requests with a loss that is not finite are added to `failed`."""
    pair = job.pair
    readers = {"base": pair.base, "target": pair.target}
    tokens = batch.tokens(side, pair.device)
    clean = {
        name: read_batch(
            readers[name], batch.tokens(name, pair.device), job.config.sites, logits=name == side
        )
        for name in SIDES
    }
    classes = torch.tensor(
        [tuple(POSITION_CLASSES).index(name) for sequence in batch.sequences for name in sequence.classes]
    )
    order: tuple[Side, Side] = (job.first, "target" if job.first == "base" else "base")
    side_index = order.index(side)
    clean_losses = _answer_losses(clean[side].logits, batch, side, "clean")
    for request in requests:
        config = request.dictionary.config
        first, second = (clean[name].activations[config.site, config.layer].cpu() for name in order)
        encoded = request.dictionary.encode_pair((first, second), classes, (side_index,))
        rebuilt = encoded.reconstruction[side_index]
        arms: dict[str, Mapping[str, tuple[int, float]]] = {"clean": clean_losses}
        try:
            for arm, values in (("spliced", rebuilt), ("ablated", torch.zeros_like(rebuilt))):
                splice = Splice(config.site, config.layer, values)
                output = read_batch(readers[side], tokens, (), logits=True, splice=splice)
                what = f"{arm}, layer {config.layer}, {config.site}"
                arms[arm] = _answer_losses(output.logits, batch, side, what)
        except NotFiniteError as error:
            failed[request.id] = str(error)
            continue
        for arm, losses in arms.items():
            for prompt_id, (n_tokens, loss) in losses.items():
                if prompt_id in request.prompt_ids:
                    yield _Loss(request.id, side, prompt_id, arm, n_tokens, loss)


def _answer_losses(
    logits: Tensor | None, batch: SequenceBatch, side: Side, what: str
) -> dict[str, tuple[int, float]]:
    """Number of answer tokens and mean loss by prompt, from logits (n, vocabulary). Empty answers are left out.

    Raises:
        NotFiniteError: a loss is not finite.
    """
    if logits is None:
        raise AssertionError("logits were requested")
    losses: dict[str, tuple[int, float]] = {}
    first_row = 0
    for sequence in batch.sequences:
        text = sequence.sides[side]
        # Uses the model's own tokens, because `next_ids` follows different rules for base and target.
        predicted = [
            (row, text.ids[position + 1])
            for row, (name, position) in enumerate(zip(sequence.classes, text.kept, strict=True), first_row)
            if name != "prompt" and position + 1 < len(text.ids)
        ]
        if predicted:
            rows, following = torch.tensor(predicted, device=logits.device).T
            loss = float(torch.nn.functional.cross_entropy(logits[rows].float(), following))
            if not math.isfinite(loss):
                raise NotFiniteError(
                    f"The loss of the {side} is not finite ({what}).",
                    hint="start a new run in another precision, for example --quantization fp32",
                )
            losses[sequence.prompt_id] = len(predicted), loss
        first_row += len(sequence.classes)
    return losses
