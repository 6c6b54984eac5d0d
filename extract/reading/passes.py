"""Both models, or one sham target, reading the sequences of a chunk: activations and divergences in row order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from extract.reading.batch import Batch, plan_batches
from extract.reading.divergence import Divergence, VocabularyMap, diverge
from extract.reading.hooks import Readable, read_batch
from extract.texts import ReadSequence
from fi_store.progress import Stopwatch
from fi_store.vocabulary import SIDES, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair

Activations = dict[tuple[str, int], Tensor]
"""(site, layer) -> (n_rows, d_model), on the CPU, in the run's dtype, rows in sequence and position order."""

Texts = list[tuple[ReadSequence, Tensor]]
"""Sequences with where their rows lie among all rows."""


@dataclass(frozen=True)
class PairReading:
    """What both models made of some sequences."""

    activations: dict[Side, Activations]
    divergence: Divergence


@dataclass(frozen=True)
class Planned:
    """One batch: its sequences, and where their rows lie among all rows."""

    members: list[ReadSequence]
    rows: Tensor

    def batch(self, side: Side, device: Any) -> Batch:
        """The batch in one model's tokens."""
        sides = [member.side(side) for member in self.members]
        return Batch(
            [one.ids for one in sides], [one.kept for one in sides], [one.n_prompt for one in sides], device
        )


def read_pair(
    pair: LoadedPair,
    sequences: Sequence[ReadSequence],
    vocabulary: VocabularyMap,
    sites: Sequence[str],
    watch: Stopwatch,
) -> PairReading:
    """Base and target over the same sequences in the same batches, and their divergence at every kept position."""
    activations: dict[Side, Activations] = {"base": {}, "target": {}}
    columns: list[Tensor] = []
    total = sum(len(sequence.classes) for sequence in sequences)
    for part in plan(sequences):
        logits: dict[Side, Tensor] = {}
        for side in SIDES:
            reader = pair.base if side == "base" else pair.target
            with watch.stage("read_" + side):
                reading = read_batch(reader, part.batch(side, pair.device), sites, logits=True)
                _scatter(activations[side], reading.activations, part.rows, total)
            if reading.logits is None:
                raise AssertionError("logits were asked for")
            logits[side] = reading.logits
        with watch.stage("diverge"):
            next_ids = {
                side: [token for member in part.members for token in member.side(side).next_ids]
                for side in SIDES
            }
            found = diverge(
                logits["base"], logits["target"], next_ids["base"], next_ids["target"], vocabulary
            )
            if not columns:
                columns = [torch.empty((total, *column.shape[1:]), dtype=column.dtype) for column in found]
            for whole, column in zip(columns, found, strict=True):
                whole[part.rows] = column
    return PairReading(activations, Divergence(*columns))


def read_alone(
    reader: Readable, side: Side, sequences: Sequence[ReadSequence], sites: Sequence[str], device: Any
) -> Activations:
    """One reader over the same sequences, in the tokens of `side`."""
    activations: Activations = {}
    total = sum(len(sequence.classes) for sequence in sequences)
    for part in plan(sequences):
        reading = read_batch(reader, part.batch(side, device), sites, logits=False)
        _scatter(activations, reading.activations, part.rows, total)
    return activations


def plan(sequences: Sequence[ReadSequence]) -> list[Planned]:
    """The batches of some sequences, those of a prompt together; one without a kept position (an empty answer) is not
    read.

    Control texts have batches of their own: a sham, which reads none, then reads the answers in the batches in which
    the pair read them, and rounds as they did.
    """
    answers: dict[str, Texts] = {}
    controls: dict[str, Texts] = {}
    at = 0
    for sequence in sequences:
        count = len(sequence.classes)
        if count:
            kind = controls if sequence.author == "control" else answers
            kind.setdefault(sequence.prompt_id, []).append((sequence, torch.arange(at, at + count)))
        at += count
    return [batch for kind in (answers, controls) for batch in _batches(list(kind.values()))]


def _batches(together: Sequence[Texts]) -> Iterator[Planned]:
    """The batches of texts of which some stay together."""
    lengths = [max(max(len(one.base.ids), len(one.target.ids)) for one, _ in texts) for texts in together]
    for group in plan_batches(lengths, [len(texts) for texts in together]):
        members = [one for item in group for one in together[item]]
        yield Planned([one for one, _ in members], torch.cat([rows for _, rows in members]))


def _scatter(into: Activations, part: Activations, rows: Tensor, total: int) -> None:
    for key, values in part.items():
        if key not in into:
            into[key] = torch.empty((total, values.shape[1]), dtype=values.dtype)
        into[key][rows] = values.cpu()
