"""Units as they are read backward: a prompt's two answers, in batches, in one reader's tokens, weighted for A."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from extract.reading.batch import padded_length, plan_batches
from extract.reading.divergence import VocabularyMap
from extract.reading.generate import end_ids
from extract.reading.likelihood import END, padding
from extract.reading.passes import AnswerTexts, Counted, Scoring
from extract.texts import ReadSequence
from fi_store.vocabulary import SIDES, PositionClass, Side

if TYPE_CHECKING:
    from extract.models import LoadedPair, Reader

BACKWARD_TOKENS = 768
"""The limit on the padded tokens of a batch with a backward pass, counted as if its texts were read whole. Its graph is
kept in memory."""


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

    def prompt_ids(self, side: Side) -> list[int]:
        """The prompt in one model's tokens."""
        text = self.sequences[0].sides[side]
        return text.ids[: text.n_prompt]

    def has_end(self, number: int) -> bool:
        """Whether an answer's end mark counts. Equal answers have it if both models ended them."""
        return all(self.ended) if self.equal else self.ended[number]

    def token_ends(self, number: int, side: Side, scoring: Scoring) -> list[int]:
        """The character of an answer before which each counted token of a reader ends."""
        sequence = self.sequences[number]
        marks = self.n_tokens(number, side, scoring) - len(sequence.sides[side].answer_ends)
        return [*sequence.sides[side].answer_ends, *[sequence.answer_length] * marks]

    def n_tokens(self, number: int, side: Side, scoring: Scoring) -> int:
        """How many of a reader's tokens count in an answer, the end mark included."""
        text = self.sequences[number].sides[side]
        return len(text.ids) - text.n_prompt + (self.has_end(number) and len(scoring.ends) > 0)


class RowGroup(NamedTuple):
    """A unit's rows of one position class. Prompt and start rows belong to both answers and have no author."""

    prompt_id: str
    position_class: PositionClass
    author: Side | None


def reader_of(pair: LoadedPair, side: Side) -> Reader:
    return pair.base if side == "base" else pair.target


def in_pair(
    pair: LoadedPair, side: Side, own: Mapping[tuple[str, int], Tensor]
) -> dict[tuple[str, int], Tensor]:
    """What was read in one model by site and layer, under the numbers that the layers have in the pair."""
    depths = pair.depths
    numbers = [(layer, depths.own(side, layer)) for layer in range(depths.n_layers)]
    sites = {site for site, _ in own}
    return {
        (site, layer): own[site, number]
        for layer, number in numbers
        for site in sites
        if (site, number) in own
    }


def scorings_of(pair: LoadedPair, vocabulary: VocabularyMap) -> dict[Side, Scoring]:
    """How the predictions of either model are read."""
    made: dict[Side, Scoring] = {}
    for side, tokens in zip(SIDES, (vocabulary.base, vocabulary.target), strict=True):
        reader = reader_of(pair, side)
        known = [end for end in end_ids(reader) if end < reader.vocab_size]
        ends = torch.tensor(known, dtype=torch.long)
        made[side] = Scoring(ends, padding(tokens, reader.vocab_size))
    return made


def find_units(sequences: Sequence[ReadSequence], ended: Mapping[tuple[str, Side], bool]) -> list[Unit]:
    """The units of a chunk in its order."""
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
    return units


def batch_units(units: Sequence[Unit], tokens: int) -> list[list[Unit]]:
    """Groups units of similar length into batches of at most `tokens` padded tokens (or one unit)."""
    lengths = [
        max(len(sequence.sides[side].ids) for sequence in unit.sequences for side in SIDES) for unit in units
    ]
    batches = plan_batches(lengths, [2] * len(units), tokens)
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


def row_numbers(units: Sequence[Unit]) -> Tensor:
    """(n_rows,) int64: the numbers of a batch's rows among all rows."""
    return torch.cat(
        [
            torch.arange(first, first + len(sequence.classes))
            for unit in units
            for sequence, first in zip(unit.sequences, unit.first_rows, strict=True)
        ]
    )


def by_unit(units: Sequence[Unit], values: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """The values of each unit's two texts. Equal answers are one, whatever rounding makes of reading it twice."""
    for unit, first, second in zip(units, values[::2], values[1::2], strict=True):
        yield first, first if unit.equal else second


def row_groups(units: Sequence[Unit]) -> dict[RowGroup, int]:
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
