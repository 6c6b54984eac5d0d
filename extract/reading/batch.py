"""Texts that are read together, and the forward passes that read them: what they have in common only once.

Where texts open with the same tokens these are one pass, and where different answers follow the same prompt, prompts
are read before answers. A later pass goes on from the keys and values of the one before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from extract.reading.prefix import shared_length

LENGTH_STEP = 8
"""Passes are padded to multiples of this: kernels are rebuilt for every new shape."""
BATCH_TOKENS = 2048
"""Padded tokens of a batch whose texts are read whole."""


@dataclass(frozen=True)
class Level:
    """What one forward pass reads: right-padded parts of texts, each after a row of the pass before it.

    parent: (n,) int64, those rows. ids, positions: (n, T) int64; mask: (n, P + T) int64, also over the P tokens of the
    passes before. rows, columns: (k,) int64, the kept positions; places: (k,) int64, their places among all of the
    batch, ascending.
    """

    parent: Tensor
    ids: Tensor
    positions: Tensor
    mask: Tensor
    rows: Tensor
    columns: Tensor
    places: Tensor


class _Part(NamedTuple):
    """A text's tokens `start` to `end` as a row of a pass that several texts may share."""

    row: int
    parent: int
    start: int
    end: int


@dataclass(frozen=True)
class Batch:
    """Texts as token ids, the kept positions of each, and how long their prompts are."""

    ids: Sequence[Sequence[int]]
    kept: Sequence[Sequence[int]]
    stems: Sequence[int]
    device: torch.device | str

    @property
    def n_kept(self) -> int:
        """Kept positions of all texts."""
        return sum(map(len, self.kept))

    def levels(self, *, share: bool, branch: bool) -> list[Level]:
        """The passes of the batch: one over whole texts, unless a model lets texts `share` keys and values of an
        opening that is not kept, and `branch`: equal texts are one row, and so are the prompts of different answers.

        Raises:
            ValueError: a kept position lies outside its text.
        """
        texts = [tuple(text) for text in self.ids]
        ends = self._ends(texts, share=share, branch=branch)
        found: list[Level] = []
        parts: dict[int, _Part] = {}
        for depth in range(max(map(len, ends))):
            known: dict[object, int] = {}
            following: dict[int, _Part] = {}
            for number, end in enumerate(ends):
                if depth < len(end):
                    before = parts.get(number, _Part(0, 0, 0, 0))
                    merged = branch or depth + 1 < len(end)
                    part = before.end, texts[number][: end[depth]] if merged else number
                    row = known.setdefault(part, len(known))
                    following[number] = _Part(row, before.row, before.end, end[depth])
            parts = following
            found.append(
                self._level(texts, parts, found[-1] if found else None, last=depth + 1 == max(map(len, ends)))
            )
        if sum(len(level.places) for level in found) != self.n_kept:
            raise ValueError("a kept position lies outside its text")
        return found

    def _ends(self, texts: Sequence[tuple[int, ...]], *, share: bool, branch: bool) -> list[list[int]]:
        """Where the parts of each text end, one for each pass."""
        ends = [[len(text)] for text in texts]
        if branch:
            prompts = {text[:stem] for text, stem in zip(texts, self.stems, strict=True)}
            if len(prompts) < len(set(texts)):
                ends = [sorted({stem, len(text)}) for text, stem in zip(texts, self.stems, strict=True)]
        if share:
            # A token of every text, and its first kept position, are left to the passes that are read.
            first = (min([end[0] - 1, *kept[:1]]) for end, kept in zip(ends, self.kept, strict=True))
            opening = shared_length(texts, min(first))
            ends = [[opening, *end] for end in ends] if opening else ends
        return ends

    def _level(
        self, texts: Sequence[tuple[int, ...]], parts: dict[int, _Part], before: Level | None, *, last: bool
    ) -> Level:
        by_row = {part.row: number for number, part in parts.items()}
        longest = max(part.end - part.start for part in parts.values())
        # What a single row is followed by needs no padding.
        width = longest if len(by_row) == 1 and not last else padded_length(longest)
        ids = torch.zeros(len(by_row), width, dtype=torch.long)
        mask = torch.zeros(len(by_row), width, dtype=torch.long)
        positions = torch.zeros(len(by_row), width, dtype=torch.long)
        for row, number in by_row.items():
            part = parts[number]
            length = part.end - part.start
            ids[row, :length] = torch.tensor(texts[number][part.start : part.end])
            mask[row, :length] = 1
            # Padding repeats the last position: the next ones may be more than the model has.
            positions[row] = torch.arange(part.start, part.start + width).clamp(max=part.end - 1)
        parent = torch.tensor([parts[by_row[row]].parent for row in range(len(by_row))])
        if before is not None:
            mask = torch.cat([before.mask.cpu()[parent], mask], 1)
        kept = self._kept_in(parts)
        at = torch.tensor(kept, dtype=torch.long).reshape(-1, 3).T
        tensors = (parent, ids, positions, mask, *at)
        return Level(*(tensor.to(self.device) for tensor in tensors))

    def _kept_in(self, parts: dict[int, _Part]) -> list[tuple[int, int, int]]:
        """(row, column, place) of the kept positions that lie in some parts."""
        found = []
        place = 0
        for number, positions in enumerate(self.kept):
            part = parts.get(number)
            for at in positions:
                if part is not None and part.start <= at < part.end:
                    found.append((part.row, at - part.start, place))
                place += 1
        return found


def plan_batches(lengths: Sequence[int], texts: Sequence[int], tokens: int = BATCH_TOKENS) -> list[list[int]]:
    """Groups of prompts' numbers for one batch each: similar lengths together, at most `tokens` padded.

    A prompt comes with `texts` texts of at most `lengths` tokens, counted as if each were read whole.
    """
    groups: list[list[int]] = []
    count = 0
    for number in sorted(range(len(lengths)), key=lambda item: (lengths[item], item)):
        # Sorted by length, the newest member is the longest of its group.
        if groups and (count + texts[number]) * padded_length(lengths[number]) <= tokens:
            groups[-1].append(number)
            count += texts[number]
        else:
            groups.append([number])
            count = texts[number]
    return groups


def padded_length(length: int) -> int:
    """The length that `length` tokens are padded to."""
    return max(LENGTH_STEP, -(-length // LENGTH_STEP) * LENGTH_STEP)
