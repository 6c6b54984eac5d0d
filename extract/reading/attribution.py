"""Where the gap between two models passes: log-probabilities of whole answers, gradients, attribution of layers.

For each unit l_m(y) = log p_m(y) / n(y), A_t = (l_t(y_t) - l_t(y_b)) / 2, A_b = (l_b(y_b) - l_b(y_t)) / 2 and the gap
G = A_t + A_b (METHOD section 1). What passes through a layer is taken with the trapezoid rule on the path from the
base's activations to the target's, each end in its own model (integrated gradients, Sundararajan et al. 2017;
attribution patching, Nanda 2023; Syed et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from extract.reading.backward import AnswerOutput, AnswerTexts, Counted, Scoring, read_answers
from extract.reading.batch import padded_length, plan_batches
from extract.reading.divergence import VocabularyMap
from extract.reading.generate import end_ids
from extract.reading.likelihood import END, padding
from extract.reading.pair import Activations
from extract.texts import ReadSequence
from fi_store.progress import Stopwatch
from fi_store.vocabulary import SIDES, PositionClass, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair, Reader

BACKWARD_TOKENS = 1024
"""The limit on the padded tokens of a batch with a backward pass, whose graph is kept in memory."""


class Unit(NamedTuple):
    """A prompt's two sequences in canonical order, whether each answer ended by itself, and where the rows of each
    begin among all rows."""

    sequences: tuple[ReadSequence, ReadSequence]
    ended: tuple[bool, bool]
    first_rows: tuple[int, int]

    @property
    def equal(self) -> bool:
        """Whether both answers are the same text. Then they are one answer, and nothing differs between them."""
        first, second = self.sequences
        return first.base.ids == second.base.ids and first.target.ids == second.target.ids

    def has_end(self, number: int) -> bool:
        """Whether an answer's end mark counts. Equal answers have it if both models ended them."""
        return all(self.ended) if self.equal else self.ended[number]

    def n_tokens(self, number: int, side: Side, scoring: Scoring) -> int:
        """How many of a reader's tokens count in an answer, the end mark included."""
        text = self.sequences[number].sides[side]
        return len(text.ids) - text.n_prompt + (self.has_end(number) and len(scoring.ends) > 0)


class AnswerLikelihood(NamedTuple):
    """log p of one answer under one reader, in nats, and how many of the reader's tokens it covers."""

    prompt_id: str
    author: Side
    reader: Side
    logprob: float
    n_tokens: int


class Gap(NamedTuple):
    """A unit's A_b and A_t, in nats per token."""

    prompt_id: str
    base: float
    target: float


class RowGroup(NamedTuple):
    """A unit's rows of one position class. Prompt and start rows belong to both answers and have no author."""

    prompt_id: str
    position_class: PositionClass
    author: Side | None


@dataclass
class AttributionReading:
    """What reading the answers of some units gave.

    `gradients` holds d A_m / d h of each reader m by (site, layer) for all rows, zero in control texts. `attribution`
    has (n_groups,) float64 nats by (site, layer), for the rows of each of `groups`. Without backward passes both are
    empty, and across widths `attribution` is.
    """

    logprobs: list[AnswerLikelihood] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    groups: dict[RowGroup, int] = field(default_factory=dict)  # -> number of rows
    gradients: dict[Side, Activations] = field(default_factory=lambda: {"base": {}, "target": {}})
    attribution: dict[tuple[str, int], Tensor] = field(default_factory=dict)


def attribute_pair(
    pair: LoadedPair,
    sequences: Sequence[ReadSequence],
    ended: Mapping[tuple[str, Side], bool],
    vocabulary: VocabularyMap,
    sites: Sequence[str],
    watch: Stopwatch,
    *,
    gradients: bool,
    written_layers: frozenset[int],
) -> AttributionReading:
    """Reads both answers to each prompt with both models, and backward if `gradients`.

    `ended` says which answers their authors ended themselves. Gradients are kept for the written layers only.
    """
    units, total = find_units(sequences, ended)
    scorings = {side: scoring_of(reader_of(pair, side), side, vocabulary) for side in SIDES}
    found = AttributionReading(groups=_row_groups(units))
    batcher = _Batcher(pair, scorings, sites, written_layers, total, found, watch)
    for part, backward in (
        ([unit for unit in units if not unit.equal], gradients),
        ([unit for unit in units if unit.equal], False),
    ):
        for batch in batch_units(part):
            batcher.read(batch, backward)
    if gradients:
        batcher.fill_unread()
    order = {unit.sequences[0].prompt_id: number for number, unit in enumerate(units)}
    found.logprobs.sort(key=lambda row: (order[row.prompt_id], row.author, row.reader))
    found.gaps.sort(key=lambda row: order[row.prompt_id])
    return found


def reader_of(pair: LoadedPair, side: Side) -> Reader:
    return pair.base if side == "base" else pair.target


def scoring_of(reader: Reader, side: Side, vocabulary: VocabularyMap) -> Scoring:
    """How a reader's predictions are read."""
    tokens = vocabulary.base if side == "base" else vocabulary.target
    ends = torch.tensor(end_ids(reader.plain, reader.tokenizer), dtype=torch.long)
    return Scoring(ends, padding(tokens, reader.vocab_size))


def find_units(
    sequences: Sequence[ReadSequence], ended: Mapping[tuple[str, Side], bool]
) -> tuple[list[Unit], int]:
    """The units of a chunk in its order, and its number of rows, those of control texts included."""
    by_prompt: dict[str, list[tuple[ReadSequence, int]]] = {}
    first_row = 0
    for sequence in sequences:
        if sequence.author != "control":
            by_prompt.setdefault(sequence.prompt_id, []).append((sequence, first_row))
        first_row += len(sequence.classes)
    units = []
    for prompt_id, ((first, at_first), (second, at_second)) in by_prompt.items():
        authors = cast("tuple[Side, Side]", (first.author, second.author))
        finished = ended[prompt_id, authors[0]], ended[prompt_id, authors[1]]
        units.append(Unit((first, second), finished, (at_first, at_second)))
    return units, first_row


def batch_units(units: Sequence[Unit]) -> list[list[Unit]]:
    """Groups units of similar length into batches of at most `BACKWARD_TOKENS` padded tokens (or one unit)."""
    lengths = [
        max(len(sequence.sides[side].ids) for sequence in unit.sequences for side in SIDES) for unit in units
    ]
    batches = plan_batches(lengths, [2] * len(units), BACKWARD_TOKENS)
    return [[units[number] for number in batch] for batch in batches]


def batch_tokens(longest: int) -> int:
    """The most padded tokens that a batch can have if the longest text has this many tokens."""
    return max(BACKWARD_TOKENS, 2 * padded_length(longest))


def answer_texts(units: Sequence[Unit], side: Side, scorings: Mapping[Side, Scoring]) -> AnswerTexts:
    """Both answers to each prompt in one reader's tokens, weighted so that their sum is that of the units' A_m.

    A row of the prompt or the start is kept in both texts, because both pass through it.
    """
    texts = AnswerTexts([], [], [], [], [], 0)
    n_rows = 0
    for unit in units:
        shared: list[tuple[int, int]] = []
        for number, sequence in enumerate(unit.sequences):
            text, ends = sequence.sides[side], unit.has_end(number) and len(scorings[side].ends) > 0
            kept = [(at, n_rows + row) for row, at in enumerate(text.kept)]
            n_rows += len(kept)
            shared = shared or [(at, row) for at, row in kept if at < text.n_prompt]
            following = [*text.ids[text.n_prompt :], *([END] if ends else [])]
            texts.counted.append(
                [Counted(at, token, len(texts.ids)) for at, token in enumerate(following, text.n_prompt - 1)]
            )
            texts.ids.append(text.ids)
            texts.stems.append(text.n_prompt)
            texts.kept.append(kept if number == 0 else [*shared, *kept])
            mean = sum(unit.n_tokens(number, each, scorings[each]) for each in SIDES) / 2
            sign = 1 if sequence.author == side else -1
            texts.weights.append(0.0 if unit.equal or not mean else sign / (2 * mean))
    return AnswerTexts(texts.ids, texts.stems, texts.kept, texts.counted, texts.weights, n_rows)


def _row_groups(units: Sequence[Unit]) -> dict[RowGroup, int]:
    groups: dict[RowGroup, int] = {}
    for unit in units:
        for group in unit_groups(unit):
            groups[group] = groups.get(group, 0) + 1
    return groups


def unit_groups(unit: Unit) -> list[RowGroup]:
    """The group of each of a unit's rows, in their order."""
    return [
        RowGroup(
            sequence.prompt_id,
            name,
            None if name in ("prompt", "start") else cast("Side", sequence.author),
        )
        for sequence in unit.sequences
        for name in sequence.classes
    ]


@dataclass
class _Batcher:
    """Reads batches of units with both models and puts what it finds into an `AttributionReading`."""

    pair: LoadedPair
    scorings: Mapping[Side, Scoring]
    sites: Sequence[str]
    written_layers: frozenset[int]
    total: int  # rows of the chunk
    found: AttributionReading
    watch: Stopwatch

    def read(self, units: Sequence[Unit], backward: bool) -> None:
        outputs: dict[Side, AnswerOutput] = {}
        halves: dict[Side, list[float]] = {}
        for side in SIDES:
            texts = answer_texts(units, side, self.scorings)
            with self.watch.stage("attribute_" + side):
                outputs[side] = read_answers(
                    reader_of(self.pair, side),
                    texts,
                    self.sites if backward else (),
                    self.scorings[side],
                    self.pair.device,
                    gradients=backward,
                )
            halves[side] = self._score(units, side, texts, outputs[side].logprobs)
        prompt_ids = [unit.sequences[0].prompt_id for unit in units]
        self.found.gaps.extend(map(Gap, prompt_ids, halves["base"], halves["target"]))
        if backward:
            with self.watch.stage("attribute_layers"):
                self._keep_gradients(units, outputs)
                self._attribute(units, outputs)

    def _score(self, units: Sequence[Unit], side: Side, texts: AnswerTexts, logprobs: Tensor) -> list[float]:
        """Notes a reader's log-probabilities; returns its half of each unit's gap."""
        values = logprobs.tolist()
        for number, unit in enumerate(units):
            if unit.equal:  # one answer, whatever rounding makes of reading it twice
                values[2 * number + 1] = values[2 * number]
            for which, sequence in enumerate(unit.sequences):
                count = unit.n_tokens(which, side, self.scorings[side])
                author, value = cast("Side", sequence.author), values[2 * number + which]
                self.found.logprobs.append(AnswerLikelihood(sequence.prompt_id, author, side, value, count))
        weighted = [value * weight for value, weight in zip(values, texts.weights, strict=True)]
        return [first + second for first, second in zip(weighted[::2], weighted[1::2], strict=True)]

    def _rows(self, units: Sequence[Unit]) -> Tensor:
        """The numbers of a batch's rows among all rows of the chunk."""
        return torch.cat(
            [
                torch.arange(first, first + len(sequence.classes))
                for unit in units
                for sequence, first in zip(unit.sequences, unit.first_rows, strict=True)
            ]
        )

    def _keep_gradients(self, units: Sequence[Unit], outputs: Mapping[Side, AnswerOutput]) -> None:
        rows = self._rows(units)
        for side, output in outputs.items():
            for key, values in output.gradients.items():
                if key[1] in self.written_layers:
                    self._gradients(side, key, values.shape[1])[rows] = values.cpu().to(self.dtype)

    def _gradients(self, side: Side, key: tuple[str, int], width: int) -> Tensor:
        """(n_rows, d_model): the gradients of all rows, zero where no answer follows."""
        into = self.found.gradients[side]
        if key not in into:
            into[key] = torch.zeros(self.total, width, dtype=self.dtype)
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
                for layer in range(min(self.pair.base.n_layers, self.pair.target.n_layers)):
                    self._attributions((site, layer))
