"""The probe stage: runs the models again for what the analysis asked in the store, and leaves the answers there.

Spliced-in loss: a dictionary's reconstruction stands in the place of a site's activations at every kept position,
while the model reads its own answer. It is set between the untouched model and the same positions at zero, as the
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
from extract.reading import NotFiniteError, Planned, Splice, plan, read_batch
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
    """A dictionary whose reconstruction is to be spliced in, and the prompts."""

    id: str
    dictionary: Dictionary
    prompt_ids: frozenset[str]


class _Loss(NamedTuple):
    """Mean -log p of an answer's tokens, nats."""

    request_id: str
    reader: Side
    prompt_id: str
    arm: str
    n_tokens: int
    loss: float


class Probed(NamedTuple):
    """Requests that were answered, and those whose splice made a loss that is not finite."""

    answered: int
    failed: int


def answer_probes(store: Store, run_id: str, *, progress: Progress) -> Probed:
    """Answers the open requests of an analyzed run in one transaction; one that fails leaves a warning.

    Raises:
        UsageError: the run is not analyzed, or a model is not the one that it read.
        ModelError: a model cannot be read any more.
        AnalysisError: a dictionary cannot be read any more.
        NotFiniteError: a model gives values that are not finite.
    """
    run = store.run(run_id)
    if run.state not in ("analyzed", "complete"):
        raise UsageError(
            f"The run {run_id} is {run.state}; nothing is asked before its analysis is done.",
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
        wish="be asked more",
        hint="compare the models of today in a new run: fi-store run",
    )
    job = prepare(pair, config, suite, stored_rendering(store, run.extraction_run_id))
    wanted = frozenset[str]().union(*(request.prompt_ids for request in requests))
    losses: list[_Loss] = []
    failed: dict[str, str] = {}  # request -> why
    with progress.task("splicing in reconstructions", len(SIDES)) as advance:
        for side in SIDES:
            for part in plan(_own_texts(store, run.extraction_run_id, job, side, wanted)):
                left = [request for request in requests if request.id not in failed]
                losses.extend(_splice_losses(job, side, part, left, failed))
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
    """The prompts with the model's own answers, all user text and answer positions kept."""
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
    job: Job, side: Side, part: Planned, requests: Sequence[_Request], failed: dict[str, str]
) -> Iterator[_Loss]:
    """Every arm's loss of one model on one batch; what is not finite with a splice is noted in `failed`."""
    pair = job.pair
    readers = {"base": pair.base, "target": pair.target}
    batch = part.batch(side, pair.device)
    clean = {
        name: read_batch(readers[name], part.batch(name, pair.device), job.config.sites, logits=name == side)
        for name in SIDES
    }
    classes = torch.tensor(
        [tuple(POSITION_CLASSES).index(name) for member in part.members for name in member.classes]
    )
    order: tuple[Side, Side] = (job.first, "target" if job.first == "base" else "base")
    place = order.index(side)
    untouched = _by_prompt(clean[side].logits, part, side, "clean")
    for request in requests:
        config = request.dictionary.config
        first, second = (clean[name].activations[config.site, config.layer].cpu() for name in order)
        rebuilt = request.dictionary.read((first, second), classes, (place,)).reconstruction[place]
        arms: dict[str, Mapping[str, tuple[int, float]]] = {"clean": untouched}
        try:
            for arm, values in (("spliced", rebuilt), ("ablated", torch.zeros_like(rebuilt))):
                splice = Splice(config.site, config.layer, values)
                reading = read_batch(readers[side], batch, (), logits=True, splice=splice)
                where = f"{arm}, layer {config.layer}, {config.site}"
                arms[arm] = _by_prompt(reading.logits, part, side, where)
        except NotFiniteError as error:
            failed[request.id] = str(error)
            continue
        for arm, found in arms.items():
            for prompt_id, (n_tokens, loss) in found.items():
                if prompt_id in request.prompt_ids:
                    yield _Loss(request.id, side, prompt_id, arm, n_tokens, loss)


def _by_prompt(logits: Tensor | None, part: Planned, side: Side, what: str) -> dict[str, tuple[int, float]]:
    """Answer tokens and mean loss of every sequence, from logits (n, vocabulary); an empty answer has none.

    Raises:
        NotFiniteError: a loss is not finite.
    """
    if logits is None:
        raise AssertionError("logits were asked for")
    found: dict[str, tuple[int, float]] = {}
    first = 0
    for member in part.members:
        text = member.side(side)
        # By the model's own tokens: `next_ids` has one rule for the base and another for the target.
        rows = [
            (first + at, text.ids[place + 1])
            for at, (name, place) in enumerate(zip(member.classes, text.kept, strict=True))
            if name != "prompt" and place + 1 < len(text.ids)
        ]
        if rows:
            at, following = torch.tensor(rows, device=logits.device).T
            loss = float(torch.nn.functional.cross_entropy(logits[at].float(), following))
            if not math.isfinite(loss):
                raise NotFiniteError(
                    f"The loss of the {side} is not finite ({what}).",
                    hint="a new run in another precision, for example --quantization fp32",
                )
            found[member.prompt_id] = len(rows), loss
        first += len(member.classes)
    return found
