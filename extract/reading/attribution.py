"""Reads a chunk with both models, and finds where the gap between them passes: gradients, attribution of layers.

For each unit l_m(y) = log p_m(y) / n(y), A_t = (l_t(y_t) - l_t(y_b)) / 2, A_b = (l_b(y_b) - l_b(y_t)) / 2 and the gap
G = A_t + A_b (METHOD section 1). What passes through a layer is taken with the trapezoid rule on the path from the
base's activations to the target's, each end in its own model (integrated gradients, Sundararajan et al. 2017;
attribution patching, Nanda 2023; Syed et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from extract.reading.backward import AnswerOutput, read_answers
from extract.reading.batch import BATCH_TOKENS
from extract.reading.divergence import Divergence, VocabularyMap
from extract.reading.pair import Activations, PairRows, read_controls
from extract.reading.passes import AnswerTexts, Scoring
from extract.reading.summaries import Summaries
from extract.reading.units import (
    BACKWARD_TOKENS,
    RowGroup,
    Unit,
    answer_texts,
    batch_units,
    by_unit,
    find_units,
    in_pair,
    reader_of,
    row_groups,
    row_numbers,
    scorings_of,
    unit_groups,
)
from extract.texts import ReadSequence
from fi_store.progress import Stopwatch
from fi_store.vocabulary import SIDES, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair


class AnswerLikelihood(NamedTuple):
    """log p of one answer under one reader, in nats, whole and by the reader's counted tokens.

    `token_ends` are the characters of the answer before which these tokens end; an end mark has all before it.
    """

    prompt_id: str
    author: Side
    reader: Side
    logprob: float
    token_logprobs: list[float]
    token_ends: list[int]


class Gap(NamedTuple):
    """A unit's A_b and A_t, in nats per token."""

    prompt_id: str
    base: float
    target: float


@dataclass
class AttributionReading:
    """What the answers of some units gave.

    `gradients` holds d A_m / d h of each reader m by (site, layer) for all rows, zero in control texts. `attribution`
    has (n_groups,) float64 nats by (site, layer), for the rows of each of `groups`. Without backward passes both are
    empty, and across widths `attribution` is.
    """

    logprobs: list[AnswerLikelihood] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    groups: dict[RowGroup, int] = field(default_factory=dict)  # -> number of rows
    gradients: dict[Side, Activations] = field(default_factory=lambda: {"base": {}, "target": {}})
    attribution: dict[tuple[str, int], Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class PairReading:
    """Both models' activations over all rows of a chunk, the divergence between their predictions, and attribution.

    Activations are those of the written layers, `summaries` those of all.
    """

    activations: dict[Side, Activations]
    summaries: Summaries
    divergence: Divergence
    attribution: AttributionReading


def read_pair(
    pair: LoadedPair,
    sequences: Sequence[ReadSequence],
    ended: Mapping[tuple[str, Side], bool],
    vocabulary: VocabularyMap,
    sites: Sequence[str],
    watch: Stopwatch,
    *,
    gradients: bool,
    written_layers: frozenset[int],
) -> PairReading:
    """Reads every text once with both models: forward for everything, and answers backward too if `gradients`.

    `ended` says which answers their authors ended themselves. Activations and gradients are kept for the
    written layers only.
    """
    units = find_units(sequences, ended)
    scorings = scorings_of(pair, vocabulary)
    found, rows = (
        AttributionReading(groups=row_groups(units)),
        PairRows(sequences, vocabulary, written_layers),
    )
    batcher = _Batcher(pair, scorings, sites, written_layers, rows, found, watch)
    for part, backward in (
        ([unit for unit in units if not unit.equal], gradients),
        ([unit for unit in units if unit.equal], False),
    ):
        for batch in batch_units(part, BACKWARD_TOKENS if backward else BATCH_TOKENS):
            batcher.read(batch, backward)
    read_controls(pair, sequences, sites, rows, watch)
    if gradients:
        batcher.fill_unread()
    order = {unit.sequences[0].prompt_id: number for number, unit in enumerate(units)}
    found.logprobs.sort(key=lambda row: (order[row.prompt_id], row.author, row.reader))
    found.gaps.sort(key=lambda row: order[row.prompt_id])
    return PairReading(rows.activations, rows.summaries, rows.divergence, found)


@dataclass
class _Batcher:
    """Reads batches of units with both models and puts what it finds into an `AttributionReading`."""

    pair: LoadedPair
    scorings: Mapping[Side, Scoring]
    sites: Sequence[str]
    written_layers: frozenset[int]
    rows: PairRows
    found: AttributionReading
    watch: Stopwatch

    def read(self, units: Sequence[Unit], backward: bool) -> None:
        outputs: dict[Side, AnswerOutput] = {}
        halves: dict[Side, list[float]] = {}
        logits: dict[Side, Tensor] = {}
        rows = row_numbers(units)
        for side in SIDES:
            texts = answer_texts(units, side, self.scorings)
            with self.watch.stage("read_" + side):
                output = read_answers(
                    reader_of(self.pair, side),
                    texts,
                    self.sites,
                    self.scorings[side],
                    self.pair.device,
                    gradients=backward,
                    logits=True,
                )
                output = replace(
                    output,
                    activations=in_pair(self.pair, side, output.activations),
                    gradients=in_pair(self.pair, side, output.gradients),
                )
                self.rows.add(side, rows, output.activations)
            if output.logits is None:
                raise AssertionError("logits were requested")
            outputs[side], logits[side] = output, output.logits
            halves[side] = self._score(units, side, texts, outputs[side].token_logprobs)
        prompt_ids = [unit.sequences[0].prompt_id for unit in units]
        self.found.gaps.extend(map(Gap, prompt_ids, halves["base"], halves["target"]))
        with self.watch.stage("diverge"):
            self.rows.compare(rows, [each for unit in units for each in unit.sequences], logits)
        if backward:
            with self.watch.stage("attribute_layers"):
                self._keep_gradients(rows, outputs)
                self._attribute(units, outputs)

    def _score(
        self, units: Sequence[Unit], side: Side, texts: AnswerTexts, logprobs: Sequence[Tensor]
    ) -> list[float]:
        """Notes a reader's log-probabilities; returns its half of each unit's gap."""
        values: list[float] = []
        for unit, parts in zip(units, by_unit(units, logprobs), strict=True):
            for number, (sequence, part) in enumerate(zip(unit.sequences, parts, strict=True)):
                author, ends = (
                    cast("Side", sequence.author),
                    unit.token_ends(number, side, self.scorings[side]),
                )
                values.append(float(part.sum()))
                self.found.logprobs.append(
                    AnswerLikelihood(sequence.prompt_id, author, side, values[-1], part.tolist(), ends)
                )
        weighted = [value * weight for value, weight in zip(values, texts.weights, strict=True)]
        return [first + second for first, second in zip(weighted[::2], weighted[1::2], strict=True)]

    def _keep_gradients(self, rows: Tensor, outputs: Mapping[Side, AnswerOutput]) -> None:
        for side, output in outputs.items():
            for key, values in output.gradients.items():
                if key[1] in self.written_layers:
                    self._gradients(side, key, values.shape[1])[rows] = values.cpu().to(self.dtype)

    def _gradients(self, side: Side, key: tuple[str, int], width: int) -> Tensor:
        """(n_rows, d_model): the gradients of all rows, zero where no answer follows."""
        into = self.found.gradients[side]
        if key not in into:
            into[key] = torch.zeros(self.rows.total, width, dtype=self.dtype)
        return into[key]

    @property
    def dtype(self) -> torch.dtype:
        """The type of stored gradients: the run's, but never float16, in which they would vanish."""
        return torch.float32 if self.pair.dtype == torch.float16 else self.pair.dtype

    def _attribute(self, units: Sequence[Unit], outputs: Mapping[Side, AnswerOutput]) -> None:
        """att = 1/2 sum<grad A_t(h_t), h_t - h_b> + 1/2 sum<-grad A_b(h_b), h_t - h_b> of each group of rows."""
        if self.pair.base.d_model != self.pair.target.d_model:
            return
        numbers = {group: number for number, group in enumerate(self.found.groups)}
        of_row = torch.tensor([numbers[group] for unit in units for group in unit_groups(unit)])
        base, target = outputs["base"], outputs["target"]
        for key in base.gradients.keys() & target.gradients.keys():
            device = target.activations[key].device
            difference = target.activations[key].float() - base.activations[key].to(device).float()
            slopes = target.gradients[key] - base.gradients[key].to(device)
            parts = (slopes * difference).sum(1).cpu().double() / 2  # (n_rows,)
            self._attributions(key).index_add_(0, of_row, parts)

    def _attributions(self, key: tuple[str, int]) -> Tensor:
        zeros = torch.zeros(len(self.found.groups), dtype=torch.float64)
        return self.found.attribution.setdefault(key, zeros)

    def fill_unread(self) -> None:
        """Notes zeros for what no batch went backward through, because all its answers are equal."""
        for side in SIDES:
            reader = reader_of(self.pair, side)
            for site in self.sites:
                for layer in sorted(self.written_layers):
                    self._gradients(side, (site, layer), reader.d_model)
        if self.pair.base.d_model == self.pair.target.d_model:
            for site in self.sites:
                for layer in range(self.pair.depths.n_layers):
                    self._attributions((site, layer))
