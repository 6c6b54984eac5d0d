"""Reads the sequences of a chunk with both models: activations and divergences in row order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from extract.reading.batch import Batch, plan_batches
from extract.reading.divergence import Divergence, VocabularyMap, diverge
from extract.reading.hooks import read_batch
from extract.texts import ReadSequence
from fi_store.progress import Stopwatch
from fi_store.vocabulary import SIDES, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair

Activations = dict[tuple[str, int], Tensor]
"""(site, layer) -> (n_rows, d_model), on the CPU, in the run's dtype. Rows are in sequence and position order."""

NumberedSequences = list[tuple[ReadSequence, Tensor]]
"""Sequences with the numbers of their rows among all rows."""


@dataclass(frozen=True)
class PairReading:
    """Both models' activations over some sequences, and the divergence between their predictions."""

    activations: dict[Side, Activations]
    divergence: Divergence


@dataclass(frozen=True)
class SequenceBatch:
    """Sequences that are read together, and the numbers of their rows among all rows."""

    sequences: list[ReadSequence]
    rows: Tensor

    def tokens(self, side: Side, device: Any) -> Batch:
        """The batch in one model's tokens."""
        texts = [sequence.sides[side] for sequence in self.sequences]
        return Batch(
            [text.ids for text in texts],
            [text.kept for text in texts],
            [text.n_prompt for text in texts],
            device,
        )


def read_pair(
    pair: LoadedPair,
    sequences: Sequence[ReadSequence],
    vocabulary: VocabularyMap,
    sites: Sequence[str],
    watch: Stopwatch,
) -> PairReading:
    """Reads the same sequences in the same batches with base and target, and compares them at every kept position."""
    activations: dict[Side, Activations] = {"base": {}, "target": {}}
    columns: list[Tensor] = []
    total = sum(len(sequence.classes) for sequence in sequences)
    for batch in batch_sequences(sequences):
        logits: dict[Side, Tensor] = {}
        for side in SIDES:
            reader = pair.base if side == "base" else pair.target
            with watch.stage("read_" + side):
                output = read_batch(reader, batch.tokens(side, pair.device), sites, logits=True)
                _scatter(activations[side], output.activations, batch.rows, total)
            if output.logits is None:
                raise AssertionError("logits were requested")
            logits[side] = output.logits
        with watch.stage("diverge"):
            next_ids = {
                side: [token for sequence in batch.sequences for token in sequence.sides[side].next_ids]
                for side in SIDES
            }
            divergence = diverge(
                logits["base"], logits["target"], next_ids["base"], next_ids["target"], vocabulary
            )
            if not columns:
                columns = [
                    torch.empty((total, *column.shape[1:]), dtype=column.dtype) for column in divergence
                ]
            for whole, column in zip(columns, divergence, strict=True):
                whole[batch.rows] = column
    return PairReading(activations, Divergence(*columns))


def batch_sequences(sequences: Sequence[ReadSequence]) -> list[SequenceBatch]:
    """Divides sequences into batches and keeps those of a prompt together.

    A sequence without a kept position (an empty answer) is not read. Control texts have batches of their own,
    because they are much shorter than texts with answers.
    """
    answers: dict[str, NumberedSequences] = {}
    controls: dict[str, NumberedSequences] = {}
    first_row = 0
    for sequence in sequences:
        count = len(sequence.classes)
        if count:
            by_prompt = controls if sequence.author == "control" else answers
            rows = torch.arange(first_row, first_row + count)
            by_prompt.setdefault(sequence.prompt_id, []).append((sequence, rows))
        first_row += count
    return [batch for by_prompt in (answers, controls) for batch in _batch_prompts(list(by_prompt.values()))]


def _batch_prompts(prompts: Sequence[NumberedSequences]) -> Iterator[SequenceBatch]:
    """Batches of whole prompts, each prompt given as its sequences."""
    lengths = [
        max(max(len(sequence.base.ids), len(sequence.target.ids)) for sequence, _ in numbered)
        for numbered in prompts
    ]
    for group in plan_batches(lengths, [len(numbered) for numbered in prompts]):
        members = [member for number in group for member in prompts[number]]
        yield SequenceBatch([sequence for sequence, _ in members], torch.cat([rows for _, rows in members]))


def _scatter(into: Activations, part: Activations, rows: Tensor, total: int) -> None:
    """Copies the activations of a batch to their rows among all rows."""
    for key, values in part.items():
        if key not in into:
            into[key] = torch.empty((total, values.shape[1]), dtype=values.dtype)
        into[key][rows] = values.cpu()
