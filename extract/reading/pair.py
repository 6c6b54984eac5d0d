"""Both models' activations and divergences over the sequences of a chunk, in row order; reads its control texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from extract.reading.batch import Batch, plan_batches
from extract.reading.divergence import Divergence, VocabularyMap, diverge
from extract.reading.hooks import read_batch
from extract.reading.summaries import Summaries
from extract.reading.units import in_pair
from extract.texts import ReadSequence
from fi_store.progress import Stopwatch
from fi_store.vocabulary import SIDES, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair

Activations = dict[tuple[str, int], Tensor]
"""(site, layer) -> (n_rows, d_model), on the CPU, in the run's dtype. Rows are in sequence and position order."""


class PairRows:
    """Both models' activations over the rows of a chunk, and the divergence of their predictions, as they are read.

    Activations are kept of the written layers; of the others, only summaries.
    """

    def __init__(
        self, sequences: Sequence[ReadSequence], vocabulary: VocabularyMap, written_layers: frozenset[int]
    ) -> None:
        self.total = sum(len(sequence.classes) for sequence in sequences)
        self.vocabulary, self.written_layers = vocabulary, written_layers
        self.activations: dict[Side, Activations] = {"base": {}, "target": {}}
        self.summaries = Summaries(sequences)
        self._latest: dict[Side, Activations] = {}
        self._columns: list[Tensor] = []

    @property
    def divergence(self) -> Divergence:
        """The divergence at all rows."""
        return Divergence(*self._columns)

    def add(self, side: Side, rows: Tensor, activations: Activations) -> None:
        """Copies one model's activations (n, d_model) to their rows (n,) among all rows."""
        self._latest[side] = activations
        into = self.activations[side]
        for key, values in activations.items():
            if key[1] not in self.written_layers:
                continue
            if key not in into:
                into[key] = torch.empty((self.total, values.shape[1]), dtype=values.dtype)
            into[key][rows] = values.cpu()

    def compare(self, rows: Tensor, sequences: Sequence[ReadSequence], logits: Mapping[Side, Tensor]) -> None:
        """Compares both models' predictions (n, V) at the rows (n,) of some sequences, and what was added of them."""
        self.summaries.add(rows, self._latest.pop("base"), self._latest.pop("target"))
        following = {
            side: [token for each in sequences for token in each.sides[side].next_ids] for side in SIDES
        }
        found = diverge(
            logits["base"], logits["target"], following["base"], following["target"], self.vocabulary
        )
        if not self._columns:
            self._columns = [
                torch.empty((self.total, *column.shape[1:]), dtype=column.dtype) for column in found
            ]
        for whole, column in zip(self._columns, found, strict=True):
            whole[rows] = column


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


def read_controls(
    pair: LoadedPair,
    sequences: Sequence[ReadSequence],
    sites: Sequence[str],
    found: PairRows,
    watch: Stopwatch,
) -> None:
    """Reads the control texts among the sequences of a chunk with base and target, in the same batches."""
    for batch in control_batches(sequences):
        logits: dict[Side, Tensor] = {}
        for side in SIDES:
            reader = pair.base if side == "base" else pair.target
            with watch.stage("read_" + side):
                output = read_batch(reader, batch.tokens(side, pair.device), sites, logits=True)
                found.add(side, batch.rows, in_pair(pair, side, output.activations))
            if output.logits is None:
                raise AssertionError("logits were requested")
            logits[side] = output.logits
        with watch.stage("diverge"):
            found.compare(batch.rows, batch.sequences, logits)


def control_batches(sequences: Sequence[ReadSequence]) -> Iterator[SequenceBatch]:
    """Batches of the control texts among the sequences of a chunk. One without a kept position is not read."""
    controls: list[tuple[ReadSequence, Tensor]] = []
    first_row = 0
    for sequence in sequences:
        count = len(sequence.classes)
        if count and sequence.author == "control":
            controls.append((sequence, torch.arange(first_row, first_row + count)))
        first_row += count
    lengths = [max(len(sequence.base.ids), len(sequence.target.ids)) for sequence, _ in controls]
    for group in plan_batches(lengths, [1] * len(controls)):
        members = [controls[number] for number in group]
        yield SequenceBatch([sequence for sequence, _ in members], torch.cat([rows for _, rows in members]))
