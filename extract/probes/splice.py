"""Spliced loss: how much worse a model predicts when a dictionary's reconstruction replaces a site's activations.

The reconstruction replaces every kept position while the model reads its own answer. The loss is compared with that of
the unchanged model and with zeros at the same positions, as in the "loss recovered" of Rajamanoharan et al. 2024
("Improving dictionary learning with gated sparse autoencoders").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from extract.job import Job
from extract.reading import NotFiniteError, SequenceBatch, Splice, read_batch
from fi_store.dictionaries import Dictionary
from fi_store.vocabulary import POSITION_CLASSES, SIDES, Side


@dataclass(frozen=True)
class SpliceRequest:
    """A request to splice in the reconstruction of a dictionary on some prompts."""

    id: str
    dictionary: Dictionary
    prompt_ids: frozenset[str]


class SplicedLoss(NamedTuple):
    """The mean -log p of an answer's tokens, in nats."""

    request_id: str
    reader: Side
    prompt_id: str
    arm: str
    n_tokens: int
    loss: float


def splice_losses(
    job: Job, side: Side, batch: SequenceBatch, requests: Sequence[SpliceRequest], failed: dict[str, str]
) -> Iterator[SplicedLoss]:
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
                    yield SplicedLoss(request.id, side, prompt_id, arm, n_tokens, loss)


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
